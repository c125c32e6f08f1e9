"""Things and occluders as patches of colour and coverage, ready to be blended into an image.

The own colours of a thing (its sprite) are drawn once and cached. For each frame the sprite is rotated,
scaled, lit and given a shadow.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from data_prep.world import shapes
from data_prep.world.clutter import block_sprite
from data_prep.world.occluders import Occluder
from data_prep.world.scene import COVER, Thing
from data_prep.world.styles import Style
from data_prep.world.textures import fractal, muted
from data_prep.world.vocabulary import AMORPHOUS, COLOURS

SHADE = 0.2  # how much darker or lighter than its centre the sides of a thing are
ENLARGED = 1.1  # scale of the sprites, so that growing things stay sharp
FLOWING = {"blob": shapes.blob, "smoke": shapes.smoke}


@dataclass(frozen=True, eq=False)
class Patch:
    """A square of S by S pixels, to be drawn with its first pixel at (left, top) of the image.

    `colour` float32 (S, S, 3); `cover` uint8 (S, S), the opacity; `region` uint8 (S, S), from which the mask
    is made; `shadow` float32 (S, S), a factor on the image below, or None.
    """

    left: int
    top: int
    colour: np.ndarray
    cover: np.ndarray
    region: np.ndarray
    shadow: np.ndarray | None


def thing_patch(
    thing: Thing, t: int, middle: tuple[float, float], radius: float, light: float, style: Style
) -> Patch:
    """A thing at frame `t`, with its centre and radius in pixels of the image.

    `light` is the direction of the light in radians.
    """
    # 1. A patch around the thing, with whole pixels as its corner and the fraction as an offset inside.
    half = math.ceil(radius * COVER) + 3
    side = 2 * half + 1
    left, top = math.floor(middle[0]) - half, math.floor(middle[1]) - half
    offset = middle[0] - left, middle[1] - top
    # 2. Colour and coverage at this frame.
    body = _body(thing, style)
    if thing.shape in AMORPHOUS:
        colour, cover, region = flowing(thing, t, offset, radius, side, body)
    else:
        warped = _turned(body, thing, t, offset, radius, side)
        colour, cover = warped[..., :3].astype(np.float32), warped[..., 3]
        region = cover
    # 3. Light and shadow.
    _shade(colour, thing, offset, radius, light)
    return Patch(left, top, colour, cover, region, _shadow(cover, thing, radius, light))


def _turned(
    sprite: np.ndarray, thing: Thing, t: int, middle: tuple[float, float], radius: float, side: int
) -> np.ndarray:
    """The sprite rotated, scaled and stretched around `middle`; uint8 (side, side, 4)."""
    # Rotation and scale in one matrix; stretching keeps the area: wider by a factor means lower by the same.
    angle, wide = thing.angle + thing.spin * t, math.exp(thing.stretch.at(t))
    scale = radius / (thing.radius * ENLARGED)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    matrix = np.array([[cos * wide, -sin / wide, 0], [sin * wide, cos / wide, 0]])
    centre = (sprite.shape[0] - 1) / 2
    # The centre of the sprite goes to the centre of the thing.
    matrix[:, 2] = np.array(middle) - matrix[:, :2] @ (centre, centre)
    return cv2.warpAffine(sprite, matrix, (side, side), flags=cv2.INTER_LINEAR)


def flowing(
    thing: Thing, t: int, middle: tuple[float, float], radius: float, side: int, body: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, coverage and region of a thing without a fixed outline."""
    if thing.shape == "flock":
        cover, region = shapes.flock(thing.seed, t, middle, radius, side)
    else:
        cover = FLOWING[thing.shape](thing.seed, t, middle, radius, side)
        region = cover
    colour = body[:side, :side].copy()
    if thing.shape != "smoke":
        # A darker rim, one pixel wide, makes an outline visible where the thing has the colour of its
        # background.
        rim = cv2.subtract(cover, cv2.erode(cover, np.ones((3, 3), np.uint8)))
        colour *= 1 - rim.astype(np.float32)[..., None] * (0.4 / 255)
    return colour, cover, region


def _shade(
    colour: np.ndarray, thing: Thing, middle: tuple[float, float], radius: float, light: float
) -> None:
    """Light a patch from one side, in place; balls and blobs also get a highlight."""
    side = colour.shape[0]
    x = (np.arange(side, dtype=np.float32) - middle[0]) / radius
    y = (np.arange(side, dtype=np.float32) - middle[1]) / radius
    toward = math.cos(light), math.sin(light)
    factor = 1 + SHADE * np.clip(np.add.outer(y * toward[1], x * toward[0]), -1, 1)
    colour *= factor[..., None]
    if thing.shape in ("ball", "blob"):
        across = np.exp(-(((x - 0.42 * toward[0]) / 0.28) ** 2))
        down = np.exp(-(((y - 0.42 * toward[1]) / 0.28) ** 2))
        colour += (90 * np.outer(down, across))[..., None]


def _shadow(cover: np.ndarray, thing: Thing, radius: float, light: float) -> np.ndarray | None:
    """The factor by which a thing's shadow darkens, float32 (side, side); None for things in the air."""
    if thing.shape in ("smoke", "flock"):
        return None
    # The shadow falls away from the light, blurred, and takes up to 40 % of the light.
    far = 0.16 * radius
    matrix = np.array([[1, 0, -far * math.cos(light)], [0, 1, -far * math.sin(light)]])
    side = cover.shape[0]
    moved = cv2.warpAffine(cover, matrix, (side, side), flags=cv2.INTER_LINEAR)
    wide = max(3, round(0.2 * radius) | 1)
    return 1 - cv2.blur(moved, (wide, wide)).astype(np.float32) * (0.4 / 255)


@lru_cache(maxsize=128)
def _body(thing: Thing, style: Style) -> np.ndarray:
    """The sprite of a thing, square: RGBA uint8 for a fixed outline, RGB float32 for a flowing one."""
    # 1. Its colour: near the prototype, changed by the style.
    rng = np.random.default_rng((thing.seed, 0))
    colour = np.array(COLOURS[thing.colour], np.float32) * rng.uniform(0.94, 1.04)
    # Black and white must stay without hue, or they would become another colour.
    astray = 2 if thing.colour in ("black", "white") else style.astray
    colour = np.clip(colour + rng.uniform(-astray, astray, 3), 10, 250) * style.glow
    colour += (255 - colour) * style.wash
    if thing.shape in AMORPHOUS:
        side = math.ceil(2.8 * COVER * thing.radius) + 8  # enough at the largest scale and zoom
        grain = fractal(rng, (side, side), (6, 14))
        return (colour * (1 + 0.05 * grain[..., None])).astype(np.float32)
    # 2. Its outline, filled with a pattern and some noise, inside a rim.
    radius = thing.radius * ENLARGED
    side = 2 * math.ceil(radius * 1.45) + 1
    cover = shapes.outlined(thing.shape, radius, side)
    tones = pattern_tones(rng, thing, side, radius) * (1 + 0.05 * fractal(rng, (side, side), (5, 13, 40)))
    image = tones[..., None] * colour.astype(np.float32)
    width = max(2, round(2 * style.rim * radius))
    inner = cv2.erode(cover, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width - 1,) * 2))
    inner = cv2.blur(inner, (3, 3)).astype(np.float32)[..., None] / 255
    paper = 215 * (1 - style.inside)
    rim = np.clip(colour * style.edge if style.edge < 1 else colour + 45, 0, 255).astype(np.float32)
    image = rim + (image * style.inside + (paper - rim)) * inner
    image = np.clip(image, 0, 255).astype(np.uint8)
    # 3. Additions of the varied style: a letter, and thickness.
    if style.marks and rng.random() < style.marks:
        _mark(rng, image, thing, radius, colour)
    sprite = cv2.merge([*cv2.split(image), cover])
    return _thick(rng, sprite, radius * style.depth) if style.depth else sprite


def _mark(
    rng: np.random.Generator, image: np.ndarray, thing: Thing, radius: float, colour: np.ndarray
) -> None:
    """Write a letter on a thing, sometimes on a panel of paper as on toy blocks; in place."""
    side = image.shape[0]
    # A panel of paper, sometimes, and a letter in a colour that contrasts with what is below it.
    paper = np.array((238, 230, 212), np.float32) * float(rng.uniform(0.85, 1.0))
    panel = thing.colour != "white" and rng.random() < 0.5
    if panel:
        corners, _ = shapes.outlines(thing.shape)
        middle = (side - 1) / 2
        share = float(rng.uniform(0.45, 0.72))
        cv2.fillPoly(image, [np.round(corners * share * radius + middle).astype(np.int32)], paper.tolist())
    light = thing.colour != "white" and (thing.colour == "black" or rng.random() < 0.7)
    ink = colour if panel else paper if light else np.full(3, 40.0)
    letter, scale = chr(int(rng.integers(65, 91))), radius / 24
    stroke = max(1, round(radius * float(rng.uniform(0.1, 0.22))))
    (wide, high), _ = cv2.getTextSize(letter, 0, scale, stroke)
    corner = (side - wide) // 2, (side + high) // 2
    cv2.putText(image, letter, corner, 0, scale, ink.tolist(), stroke, cv2.LINE_AA)


def _thick(rng: np.random.Generator, sprite: np.ndarray, depth: float) -> np.ndarray:
    """A sprite, RGBA uint8, with the sides of a solid body below it; larger by `depth` pixels on each side.

    The sides are the silhouette of the sprite, shifted step by step in one direction.
    """
    room = math.ceil(depth)
    sprite = cv2.copyMakeBorder(sprite, room, room, room, room, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    around = float(rng.uniform(0, 2 * math.pi))
    side, cover = np.zeros(sprite.shape[:2], np.uint8), sprite[..., 3]
    for far in range(1, room + 1):
        shift = round(far * math.cos(around)), round(far * math.sin(around))
        side = np.maximum(side, np.roll(cover, shift, (1, 0)))
    inside = sprite[cover > 127, :3].mean(axis=0) if cover.any() else np.zeros(3)
    wood = np.array((196, 160, 112)) * rng.uniform(0.7, 1.1)
    below = wood if rng.random() < 0.4 else inside * rng.uniform(0.4, 0.75)
    alpha = cover.astype(np.float32)[..., None] / 255
    image = sprite[..., :3] * alpha + np.clip(below, 0, 255) * (1 - alpha)
    return cv2.merge([*cv2.split(image.astype(np.uint8)), np.maximum(side, cover)])


def pattern_tones(rng: np.random.Generator, thing: Thing, side: int, radius: float) -> np.ndarray:
    """A factor on the colour, float32 (side, side): stripes or dots in another tone of it."""
    # Stripes and dots are darker than the colour; on black things they must be lighter.
    tone = 3.2 if thing.colour == "black" else 0.6
    # Coordinates in radii, so that the pattern scales with the thing.
    axis = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / radius
    turn = float(rng.uniform(0, math.pi))
    along = np.add.outer(axis * math.sin(turn), axis * math.cos(turn))
    if thing.pattern == "striped":
        wave = np.sin(along * rng.uniform(9, 12) + rng.uniform(0, 6))
    elif thing.pattern == "dotted":
        across = np.add.outer(axis * math.cos(turn), -axis * math.sin(turn))
        rate = rng.uniform(8, 10)
        wave = np.sin(along * rate) * np.sin(across * rate) * 2 - 0.75
    else:
        return np.ones((side, side), np.float32)
    # A steep transition: sharp stripes without aliasing.
    share = np.clip(wave * 4 + 0.5, 0, 1)
    return (1 + (tone - 1) * share).astype(np.float32)


@lru_cache(maxsize=32)
def occluder_sprite(occluder: Occluder, style: Style) -> np.ndarray:
    """A post, wall or bush, RGBA uint8, muted and textured."""
    rng = np.random.default_rng((occluder.seed, 0))
    width, height = (max(4, round(2 * half)) for half in occluder.half)
    if style.name == "footage" and occluder.kind == "wall":
        return _bordered(block_sprite(rng, (width, height)))
    free = style.name in ("varied", "footage")
    colour = muted(rng, 30, 220, 25) if free else muted(rng, 75, 120, 12)
    # Bushes have a leafy outline; posts and walls fill their rectangle.
    if occluder.kind == "bush":
        colour = np.array([88, 100, 70], np.float32) + rng.uniform(-12, 12, 3)
        cover = _bush(rng, width, height)
        grain = 20 * fractal(rng, (width, height), (4, 9, 20, 45), 0.8)
    else:
        cover = np.full((height, width), 255, np.uint8)
        grain = 6 * fractal(rng, (width, height), (3, 10, 30), 0.9)
        if occluder.kind == "wall":
            grain[:: max(8, height // 9)] -= 28
            grain[:, :: max(12, width // 5)] -= 18
    # A post is round: lighter in the middle.
    round_light = 26 * np.sin(np.linspace(0, math.pi, width, dtype=np.float32))[None] - 14
    if occluder.kind == "post":
        grain = grain + round_light * 1.5
    image = np.clip(colour + grain[..., None], 0, 255)
    if style.name == "night":
        image *= 0.45
    elif style.name in ("pastel", "lines"):
        image = 255 - (255 - image) * 0.7
    return _bordered(np.dstack([image, cover]).astype(np.uint8))


def _bordered(sprite: np.ndarray) -> np.ndarray:
    """The sprite inside a transparent border of one pixel."""
    return cv2.copyMakeBorder(sprite, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))


def _bush(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Coverage of a rounded heap with a leafy edge."""
    angles = np.arange(90) * (2 * math.pi / 90)
    distance = 0.93 + 0.05 * np.sin(5 * angles + rng.uniform(0, 6)) + rng.uniform(-0.04, 0.02, 90)
    corners = np.stack([distance * np.cos(angles), distance * np.sin(angles)], axis=1)
    corners = (corners + 1) * (width / 2, height / 2)
    cover = np.zeros((height, width), np.uint8)
    cv2.fillPoly(cover, [np.round(corners * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
    return cover
