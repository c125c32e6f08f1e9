"""The faces of things of the footage look: a body of the named colour with parts of other colours, and wear.

The named colour always covers most of a face.
"""

import colorsys
import math

import cv2
import numpy as np

from data_prep.world import shapes
from data_prep.world.clutter import nameless_colour
from data_prep.world.scene import Thing
from data_prep.world.styles import Style
from data_prep.world.textures import fractal, noise
from data_prep.world.vocabulary import COLOURS

FACE_REACH = 1.5  # half the side of a face's image, in radii
MOST_OTHER = 0.38  # largest share of a face in other colours
CLEARLY = 0.7  # a colour is at most this share as far from its own prototype as from the second nearest
MOST_HUE = 0.02  # largest difference of its hue from that of its prototype, of the circle of hues
FADES_LITTLE = ("pink", "yellow", "cyan", "black")
_PROTOTYPES = np.array(list(COLOURS.values()), np.float32)


def named_colour(rng: np.random.Generator, name: str, style: Style) -> np.ndarray:
    """A colour that the name fits, float32 (3,): faded, darker or slightly of another hue."""
    prototype = np.array(COLOURS[name], np.float32)
    astray = 3.0 if name in ("black", "white") else style.astray
    # Darker, orange would be called brown, yellow olive and white grey.
    dark = max(style.glow, 0.88) if name in ("orange", "yellow", "white") else style.glow
    colour = np.clip(prototype * rng.uniform(0.9, 1.04) * dark + rng.uniform(-astray, astray, 3), 8, 252)
    # Faded, each thing by its own share of what the style allows. Light colours less, or they would be white,
    # and black, or it would be grey.
    wash = style.wash * float(rng.uniform(0.2, 1.0)) * (0.5 if name in FADES_LITTLE else 1.0)
    colour += (225 - colour) * wash
    # Back towards the prototype until it is clearly nearer to it than to any other, and of its hue.
    for share in (1.0, 0.75, 0.5, 0.25):
        mixed = (prototype + (colour - prototype) * share).astype(np.float32)
        far = np.linalg.norm(_PROTOTYPES - mixed, axis=1)
        nearest = far[list(COLOURS).index(name)] < CLEARLY * np.partition(far, 1)[1]
        if nearest and (name in ("black", "white") or _hue_apart(mixed, prototype) < MOST_HUE):
            return mixed
    return prototype


def _hue_apart(one: np.ndarray, other: np.ndarray) -> float:
    """The difference of the hues of two colours, 0 to 0.5 of the circle."""
    hues = [colorsys.rgb_to_hsv(*(colour / 255).tolist())[0] for colour in (one, other)]
    apart = abs(hues[0] - hues[1])
    return min(apart, 1 - apart)


def face(thing: Thing, style: Style, radius: float, tones: np.ndarray) -> np.ndarray:
    """The front of a thing with a fixed outline, RGBA uint8 (side, side, 4), its centre in the middle.

    `tones` float32 (side, side) is a factor on the colour: the pattern of the thing.
    """
    rng = np.random.default_rng((thing.seed, 8))
    side = tones.shape[0]
    colour = named_colour(rng, thing.colour, style)
    # 1. The outline, and the body in its colour with some texture.
    cover = _outline(rng, thing.shape, radius, side)
    texture = 1 + float(rng.uniform(0.01, 0.06)) * fractal(rng, (side, side), (4, 11, 30), 0.8)
    image = (tones * texture)[..., None] * colour
    # 2. Parts of other colours, as long as the named colour covers most of the face.
    other = np.zeros((side, side), np.float32)
    inside = cover.astype(np.float32) / 255
    area = float(inside.sum()) + 1e-6
    painters = [
        PARTS[int(index)] for index in rng.permutation(len(PARTS))[: int(rng.choice((0, 1, 1, 2, 3)))]
    ]
    for painter in painters:
        part = painter(rng, thing, cover, radius).astype(np.float32) / 255
        tone, counts = _part_colour(rng, thing.colour, colour)
        if counts and float((np.maximum(other, part) * inside).sum()) > MOST_OTHER * area:
            continue
        if counts:
            other = np.maximum(other, part)
        image += (tone - image) * part[..., None]
    # 3. A rim, printed letters, wear.
    if rng.random() < 0.5:
        wide = max(1, round(float(rng.uniform(0.03, 0.1)) * radius))
        inner = cv2.blur(_shrunk(cover, wide), (3, 3)).astype(np.float32)[..., None] / 255
        rim = colour * float(rng.uniform(0.5, 0.95)) if rng.random() < 0.7 else colour * 0.7 + 70
        image = rim + (image - rim) * inner
    if style.marks and rng.random() < style.marks:
        # On a panel, letters often have the colour of the thing, as on toy blocks.
        own = _panel in painters and rng.random() < 0.6
        image = _lettered(rng, image, thing.colour, radius, colour * 0.9 if own else None)
    _wear(rng, image, cover, thing.colour)
    sprite = np.dstack([np.clip(image, 0, 255), cover]).astype(np.uint8)
    # 4. A handle, stem or loop behind the body.
    return _handled(rng, sprite, colour, radius) if rng.random() < 0.15 and thing.shape != "ring" else sprite


def _outline(rng: np.random.Generator, shape: str, radius: float, side: int) -> np.ndarray:
    """Coverage of a shape, in proportions of its own and with rounded corners, uint8 (side, side)."""
    corners, hole = shapes.outlines_varied(shape, rng)
    middle = (side - 1) / 2
    cover = shapes.fill(corners * radius + middle, side)
    if hole is not None:
        cover = cv2.subtract(cover, shapes.fill(hole * radius + middle, side))
    soft = float(rng.uniform(0, 0.12)) * radius
    if soft < 0.8 or shape in ("ring", "moon"):
        return cover
    # Blurred and made steep again: sharp corners get round.
    blurred = cv2.GaussianBlur(cover, (0, 0), soft).astype(np.float32)
    return np.clip((blurred - 127.5) * max(1.0, 1.5 * soft) + 127.5, 0, 255).astype(np.uint8)


def _shrunk(cover: np.ndarray, wide: int) -> np.ndarray:
    """The coverage without a margin of `wide` pixels."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * wide + 1,) * 2)
    return cv2.erode(cover, kernel)


def _part_colour(rng: np.random.Generator, name: str, colour: np.ndarray) -> tuple[np.ndarray, bool]:
    """The colour of a part, and whether it counts as another one than the thing's."""
    kind = rng.random()
    if kind < 0.35:  # a tone of its own
        factor = float(rng.choice((0.6, 0.75, 1.2)))
        return (colour * factor if name != "black" else colour + 45), False
    if kind < 0.6:  # paper, metal or plastic
        return np.full(3, float(rng.uniform(60, 150) if name == "white" else rng.uniform(150, 225))), True
    if kind < 0.72:  # a pale tint
        return colour * 0.4 + 225 * 0.6, True
    return nameless_colour(rng), True


def _axes(side: int, radius: float, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across a direction, in radii, float32 (side, side)."""
    axis = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / radius
    cos, sin = math.cos(turn), math.sin(turn)
    return np.add.outer(axis * sin, axis * cos), np.add.outer(axis * cos, -axis * sin)


def _edge(signed: np.ndarray, radius: float) -> np.ndarray:
    """Coverage from a signed distance in radii, positive inside."""
    return np.clip(signed * radius + 0.5, 0, 1) * 255


def _band(rng: np.random.Generator, _thing: Thing, cover: np.ndarray, radius: float) -> np.ndarray:
    """One band across the face."""
    along, _ = _axes(cover.shape[0], radius, float(rng.uniform(0, math.pi)))
    return _edge(float(rng.uniform(0.06, 0.22)) - np.abs(along - float(rng.uniform(-0.4, 0.4))), radius)


def _lid(rng: np.random.Generator, _thing: Thing, cover: np.ndarray, radius: float) -> np.ndarray:
    """Everything beyond a line: a lid, a base, a dipped end."""
    along, across = _axes(cover.shape[0], radius, float(rng.uniform(0, 2 * math.pi)))
    return _edge(
        along + 0.08 * np.sin(float(rng.uniform(0, 6)) * across) - float(rng.uniform(0.35, 0.8)), radius
    )


def _panel(rng: np.random.Generator, thing: Thing, cover: np.ndarray, radius: float) -> np.ndarray:
    """A smaller copy of the outline."""
    if thing.shape in ("ring", "moon"):
        return _seam(rng, thing, cover, radius)
    side, share = cover.shape[0], float(rng.uniform(0.3, 0.66))
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2,) * 2, 0, share)
    return cv2.warpAffine(cover, matrix, (side, side), flags=cv2.INTER_LINEAR)


def _label(rng: np.random.Generator, _thing: Thing, cover: np.ndarray, radius: float) -> np.ndarray:
    """A small label somewhere on the face."""
    turn, place = float(rng.uniform(-0.5, 0.5)), rng.uniform(-0.35, 0.35, 2)
    along, across = _axes(cover.shape[0], radius, turn)
    half = rng.uniform(0.15, 0.4), rng.uniform(0.1, 0.24)
    inside = np.minimum(half[0] - np.abs(along - place[0]), half[1] - np.abs(across - place[1]))
    return _edge(inside, radius)


def _buttons(rng: np.random.Generator, _thing: Thing, cover: np.ndarray, radius: float) -> np.ndarray:
    """A few round parts: buttons, eyes, wheels, holes."""
    spots, middle = np.zeros_like(cover), (cover.shape[0] - 1) / 2
    for x, y in rng.uniform(-0.6, 0.6, (int(rng.integers(1, 4)), 2)):
        centre = round((middle + x * radius) * 16), round((middle + y * radius) * 16)
        cv2.circle(spots, centre, round(float(rng.uniform(0.07, 0.2)) * radius * 16), 255, -1, cv2.LINE_AA, 4)
    return spots


def _seam(_rng: np.random.Generator, _thing: Thing, cover: np.ndarray, radius: float) -> np.ndarray:
    """A line parallel to the outline."""
    outer = _shrunk(cover, max(1, round(0.1 * radius)))
    return cv2.subtract(outer, _shrunk(cover, max(2, round(0.1 * radius) + max(1, round(0.04 * radius)))))


PARTS = (_band, _lid, _panel, _label, _buttons, _seam)


def _lettered(
    rng: np.random.Generator, image: np.ndarray, name: str, radius: float, ink: np.ndarray | None
) -> np.ndarray:
    """The image with one large letter, or a word in small ones, float32. `ink` None: light or dark."""
    word = "".join(chr(int(code)) for code in rng.integers(65, 91, int(rng.choice((1, 1, 3, 5)))))
    scale = radius / (20 if len(word) == 1 else 13 * len(word))
    stroke = max(1, round(radius * float(rng.uniform(0.05, 0.18)) / len(word)))
    font = int(rng.choice((0, 2, 3, 4)))
    (wide, high), _ = cv2.getTextSize(word, font, scale, stroke)
    side = image.shape[0]
    shift = rng.uniform(-0.12, 0.12, 2) * radius
    corner = round((side - wide) / 2 + shift[0]), round((side + high) / 2 + shift[1])
    light = name == "black" or (name != "white" and rng.random() < 0.6)
    ink = np.full(3, 228.0 if light else 45.0) if ink is None else ink
    written = np.clip(image, 0, 255).astype(np.uint8)
    cv2.putText(written, word, corner, font, scale, ink.tolist(), stroke, cv2.LINE_AA)
    return written.astype(np.float32)


def _wear(rng: np.random.Generator, image: np.ndarray, cover: np.ndarray, name: str) -> None:
    """Dirt, scratches and worn places, in place."""
    side = image.shape[0]
    if rng.random() < 0.4:  # dirt, or folds and dents
        dirt = np.clip(noise(rng, (side, side), int(rng.integers(3, 9))) - 0.3, 0, 1.5)
        image *= 1 - float(rng.uniform(0.05, 0.22)) * dirt[..., None]
    if rng.random() < 0.35:
        tone = 110.0 if name == "white" else 190.0
        for _ in range(int(rng.integers(1, 7))):
            a, b = rng.integers(0, side, 2), rng.integers(-side // 4, side // 4 + 1, 2)
            ends = (int(a[0]), int(a[1])), (int(a[0] + b[0]), int(a[1] + b[1]))
            cv2.line(image, *ends, (tone, tone * 0.97, tone * 0.92), 1, cv2.LINE_AA)
    if rng.random() < 0.3:  # the edge is worn to what is below the paint
        band = cover.astype(np.float32) - cv2.blur(cover, (5, 5)).astype(np.float32)
        worn = np.clip(band / 60, 0, 1) * np.clip(noise(rng, (side, side), 12), 0, 1)
        image += (np.array((176, 150, 120), np.float32) - image) * worn[..., None]


def _handled(rng: np.random.Generator, sprite: np.ndarray, colour: np.ndarray, radius: float) -> np.ndarray:
    """The sprite with a loop or stem behind it, which belongs to the thing."""
    side = sprite.shape[0]
    middle, around = (side - 1) / 2, float(rng.uniform(0, 2 * math.pi))
    tone = colour * float(rng.uniform(0.6, 0.9)) if rng.random() < 0.7 else nameless_colour(rng)
    layer = np.zeros((side, side), np.uint8)
    far, wide = 0.95 * radius, max(2, round(float(rng.uniform(0.1, 0.18)) * radius))
    x, y = middle + far * math.cos(around), middle + far * math.sin(around)
    if rng.random() < 0.5:  # a loop
        cv2.circle(layer, (round(x), round(y)), round(0.33 * radius), 255, wide, cv2.LINE_AA)
    else:  # a stem
        end = round(middle + 1.3 * radius * math.cos(around)), round(middle + 1.3 * radius * math.sin(around))
        cv2.line(layer, (round(middle), round(middle)), end, 255, wide, cv2.LINE_AA)
    share = sprite[..., 3:].astype(np.float32) / 255
    image = sprite[..., :3] * share + tone * (1 - share)
    return np.dstack([np.clip(image, 0, 255), np.maximum(layer, sprite[..., 3])]).astype(np.uint8)
