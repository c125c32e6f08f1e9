"""Things of the footage look as patches: tilted, thick, shaded softly, glossy or of glass, with shadows,
and blurred by their motion.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from data_prep.world import parts
from data_prep.world.clutter import nameless_colour
from data_prep.world.paths import Point
from data_prep.world.scene import Thing
from data_prep.world.sprites import ENLARGED, Patch, flowing, pattern_tones
from data_prep.world.styles import Style
from data_prep.world.textures import fractal
from data_prep.world.vocabulary import AMORPHOUS

ROOM = 1.75  # half the side of a patch in radii: the thing, its sides, and most of its shadow
LEAST_BLUR = 2.0  # pixels of motion from which a thing is blurred
MOST_BLUR = 21.0  # pixels


@dataclass(frozen=True, eq=False)
class Material:
    """How one thing lies and what it is made of. Angles are in radians, lengths in radii."""

    squeeze: float  # height over width of what lies flat, seen at a slant
    lean: float  # direction of the slant
    near: float  # how much larger its near side looks
    depth: float  # thickness
    drop: float  # direction in which its sides are seen
    side: np.ndarray | None  # colour of the sides (3,); None: a darker tone of its own
    bevel: float  # strength of the rounding of its edges
    shade: float  # how much its sides differ in brightness
    gloss: float  # strength of highlights, 0 to 255
    opacity: float  # below 1: glass
    shadow: tuple[float, float, float]  # its distance, softness and strength


@lru_cache(maxsize=128)
def material_of(thing: Thing, style: Style) -> Material:
    """The material of a thing, which follows from its seed and the style of the scene."""
    rng = np.random.default_rng((thing.seed, 7))
    flat = thing.shape not in ("ball", *AMORPHOUS)
    squeeze = float(rng.uniform(0.66, 1.0)) if flat and rng.random() < 0.7 else 1.0
    depth = style.depth * float(rng.uniform(0.5, 1.0)) if flat and rng.random() < 0.8 else 0.0
    # Sides of wood, of paper, or darker than the front.
    side = None
    if rng.random() < 0.4:
        wood = np.array((188, 150, 106)) * rng.uniform(0.7, 1.1)
        side = wood if rng.random() < 0.6 else nameless_colour(rng)
    glass = flat and thing.colour not in ("black", "white") and rng.random() < 0.08
    return Material(
        squeeze=squeeze,
        lean=float(rng.normal(0, 0.35)),
        near=float(rng.uniform(0, 0.16)) if squeeze < 1 else 0.0,
        depth=0.0 if glass else depth,
        drop=float(rng.normal(math.pi / 2, 0.5)),
        side=side,
        bevel=float(rng.uniform(0, 0.5)),
        shade=float(rng.uniform(0.05, 0.3)),
        gloss=float(rng.uniform(30, 130)) if glass or rng.random() < 0.4 else 0.0,
        opacity=float(rng.uniform(0.6, 0.82)) if glass else 1.0,
        shadow=(float(rng.uniform(0.05, 0.22)), float(rng.uniform(0.1, 0.3)), float(rng.uniform(0.2, 0.62))),
    )


def solid_patch(
    thing: Thing,
    t: int,
    middle: Point,
    radius: float,
    light: float,
    style: Style,
    roll: float = 0.0,
    motion: Point = (0.0, 0.0),
) -> Patch:
    """A thing of the footage look at frame `t`; see `sprites.thing_patch`.

    `roll` is the rotation of the camera in radians, `motion` the way of the thing in pixels while the shutter
    is open, without zoom and rotation of the camera. Masks do not contain the blur: they show where the thing
    is in the middle of that time.
    """
    material = material_of(thing, style)
    # 1. A patch around the thing, with whole pixels as its corner and the fraction as an offset inside.
    speed = math.hypot(*motion)
    half = math.ceil(radius * ROOM) + 3
    if speed >= LEAST_BLUR:
        half += math.ceil(min(speed, MOST_BLUR) / 2)
    side = 2 * half + 1
    left, top = math.floor(middle[0]) - half, math.floor(middle[1]) - half
    offset = middle[0] - left, middle[1] - top
    # 2. Colour and coverage at this frame, then light.
    if thing.shape in AMORPHOUS:
        colour, cover, region = flowing(thing, t, offset, radius, side, _fluid(thing, style, side))
    else:
        colour, cover = _posed(thing, material, style, t, offset, radius, side, roll)
        region = cover
    # Only the part that it covers, with room for its shadow and its blur, is worth more work.
    room = math.ceil(sum(material.shadow[:2]) * radius + min(speed, MOST_BLUR) / 2) + 2
    window, corner = _window(cv2.max(cover, region), room)
    colour, cover, region = colour[window], cover[window], region[window]
    left, top, offset = left + corner[0], top + corner[1], (offset[0] - corner[0], offset[1] - corner[1])
    _light(colour, cover, thing, material, offset, radius, light)
    if material.opacity < 1:
        cover = _as_glass(cover, material.opacity, radius)
    # 3. Its shadow, and the blur of its motion.
    shadow = None if thing.shape in ("smoke", "flock") else _shadow(region, material, radius, light)
    if speed >= LEAST_BLUR:
        colour, cover = _smeared(colour, cover, motion, speed)
    return Patch(left, top, colour, cover, region, shadow)


def _window(cover: np.ndarray, room: int) -> tuple[tuple[slice, slice], tuple[int, int]]:
    """The rows and columns that a coverage occupies, with `room` pixels around; and their first x and y."""
    left, top, wide, high = cv2.boundingRect(cover)
    x, y = max(0, left - room), max(0, top - room)
    return (slice(y, top + high + room), slice(x, left + wide + room)), (x, y)


@lru_cache(maxsize=128)
def _face(thing: Thing, style: Style) -> np.ndarray:
    """The front of a thing with a fixed outline, RGBA uint8, square."""
    radius = thing.radius * ENLARGED
    side = 2 * math.ceil(radius * parts.FACE_REACH) + 1
    tones = pattern_tones(np.random.default_rng((thing.seed, 9)), thing, side, radius)
    return parts.face(thing, style, radius, tones)


@lru_cache(maxsize=128)
def _fluid(thing: Thing, style: Style, side: int) -> np.ndarray:
    """The colours of a thing without a fixed outline, float32 (side, side, 3)."""
    rng = np.random.default_rng((thing.seed, 8))
    grain = fractal(rng, (side, side), (3, 7, 16))
    strength = float(rng.uniform(0.03, 0.14))
    return (parts.named_colour(rng, thing.colour, style) * (1 + strength * grain[..., None])).astype(
        np.float32
    )


def _posed(
    thing: Thing,
    material: Material,
    style: Style,
    t: int,
    middle: Point,
    radius: float,
    side: int,
    roll: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The front rotated, tilted and in perspective, with the sides of the body; float32 and uint8."""
    sprite = _face(thing, style)
    centre = (sprite.shape[0] - 1) / 2
    # 1. Rotation, scale and stretch in the plane of the thing.
    angle, wide = thing.angle + thing.spin * t, math.exp(thing.stretch.at(t))
    scale = radius / (thing.radius * ENLARGED)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    plane = np.array([[cos * wide, -sin / wide, 0], [sin * wide, cos / wide, 0], [0, 0, 1.0]])
    plane[:2, 2] = -plane[:2, :2] @ (centre, centre)
    # 2. The slant: squeezed along one direction, and the near side (below) larger.
    lean = material.lean + roll
    cos, sin = math.cos(lean), math.sin(lean)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.0]])
    slant = turn.T @ np.diag((1.0, material.squeeze, 1.0)) @ turn
    slant[2, :2] = -material.near / max(radius, 1.0) * np.array((-sin, cos)) * 0.5
    # 3. To its place. The front is moved up by half of the thickness.
    deep = material.depth * radius
    drop = material.drop + roll
    fall = np.array((math.cos(drop), math.sin(drop))) * deep
    place = np.eye(3)
    place[:2, 2] = np.array(middle) - fall / 2
    warped = cv2.warpPerspective(sprite, place @ slant @ plane, (side, side), flags=cv2.INTER_LINEAR)
    colour, cover = warped[..., :3].astype(np.float32), warped[..., 3]
    if deep < 1:
        return colour, cover
    # 4. The body: the front, moved along a line. Its sides get darker with the distance from the front.
    room = math.ceil(deep) + 1
    kernel = np.zeros((2 * room + 1, 2 * room + 1), np.uint8)
    end = round(room + float(fall[0])), round(room + float(fall[1]))
    cv2.line(kernel, (room, room), end, 1, 1)
    # A dilation takes the largest value at the offsets of the kernel, so the kernel is reflected.
    body = cv2.dilate(cover, kernel[::-1, ::-1])
    own = _mean_colour(sprite)
    tint = own * 0.62 if material.side is None else material.side * 0.85
    # Only the pixels of the sides are computed: where the body covers more than the front.
    rows, columns = np.nonzero(cv2.compare(body, cover, cv2.CMP_GT))
    lower = (columns - middle[0]) * math.cos(drop) + (rows - middle[1]) * math.sin(drop)
    tone = np.clip(1.0 - 0.35 * lower / radius, 0.6, 1.1).astype(np.float32)
    below = tone[:, None] * tint.astype(np.float32)
    share = cover[rows, columns].astype(np.float32)[:, None] / 255
    colour[rows, columns] = below + (colour[rows, columns] - below) * share
    return colour, np.maximum(body, cover)


def _mean_colour(sprite: np.ndarray) -> np.ndarray:
    """The mean colour of an RGBA sprite where it is solid, float32 (3,)."""
    return np.array(cv2.mean(sprite[..., :3], mask=(sprite[..., 3] > 127).astype(np.uint8))[:3], np.float32)


def _light(
    colour: np.ndarray,
    cover: np.ndarray,
    thing: Thing,
    material: Material,
    middle: Point,
    radius: float,
    light: float,
) -> None:
    """Shade a patch from one side, round its edges, and add highlights; in place."""
    rows, columns = colour.shape[:2]
    x = (np.arange(columns, dtype=np.float32) - np.float32(middle[0])) / np.float32(radius)
    y = (np.arange(rows, dtype=np.float32) - np.float32(middle[1])) / np.float32(radius)
    lx, ly = math.cos(light), math.sin(light)
    # 1. A slope across the whole thing; a ball is lit as a sphere.
    slope = np.clip(np.add.outer(y * np.float32(ly), x * np.float32(lx)), -1, 1)
    if thing.shape == "ball":
        rise = np.sqrt(np.clip(1 - np.add.outer(y * y, x * x), 0, 1))
        factor = 0.5 + np.float32(1.6 * material.shade + 0.15) * (slope * 0.6) + 0.5 * rise
    else:
        factor = 1 + np.float32(material.shade) * slope
    # 2. Edges: the difference of the blurred coverage on both sides is light or dark.
    if material.bevel > 0.1 and radius > 6 and thing.shape != "smoke":
        soft = cv2.blur(cover, (max(3, round(0.22 * radius) | 1),) * 2).astype(np.float32)
        step = max(1.0, 0.09 * radius)
        dx, dy = round(step * lx), round(step * ly)
        edge = np.roll(soft, (-dy, -dx), (0, 1)) - np.roll(soft, (dy, dx), (0, 1))
        factor -= edge * np.float32(material.bevel / 255)
    colour *= factor[..., None]
    # 3. Highlights: a spot, and sometimes the reflection of a window.
    if material.gloss:
        far, wide = (0.45, 0.2) if thing.shape == "ball" else (0.3, 0.32)
        spot = np.outer(
            np.exp(-(((y - far * ly) / wide) ** 2)), np.exp(-(((x - far * lx) / (1.4 * wide)) ** 2))
        )
        colour += (np.float32(material.gloss) * spot)[..., None]
        if thing.seed % 3 == 0:
            band = np.add.outer(0.6 * y, x) - 0.25 * lx
            streak = np.clip((0.14 - np.abs(band)) * 12, 0, 1) * np.float32(0.35 * material.gloss)
            colour += streak[..., None]


def _as_glass(cover: np.ndarray, opacity: float, radius: float) -> np.ndarray:
    """The opacity of glass: clearer inside than near its outline, uint8."""
    wide = max(1, round(0.12 * radius))
    inner = cv2.blur(cv2.erode(cover, np.ones((2 * wide + 1,) * 2, np.uint8)), (2 * wide + 1,) * 2)
    return cv2.addWeighted(cover, 1.0, inner, opacity - 1, 0)


def _shadow(cover: np.ndarray, material: Material, radius: float, light: float) -> np.ndarray:
    """The factor by which a thing's shadow darkens what is below it, float32 (side, side)."""
    far, soft, strength = material.shadow
    # A sharp, narrow shadow where it touches the ground is part of the blurred one: both shift away from the
    # light.
    matrix = np.array([[1, 0, -far * radius * math.cos(light)], [0, 1, -far * radius * math.sin(light)]])
    moved = cv2.warpAffine(cover, matrix, cover.shape[::-1], flags=cv2.INTER_NEAREST)
    wide = max(3, round(soft * radius) | 1)
    soft_cover = cv2.blur(cv2.blur(moved, (wide, wide)), (wide, wide))
    return 1 - soft_cover.astype(np.float32) * np.float32(strength / 255)


def _smeared(
    colour: np.ndarray, cover: np.ndarray, motion: Point, speed: float
) -> tuple[np.ndarray, np.ndarray]:
    """Colour and coverage, blurred along the motion."""
    kernel = motion_kernel(motion, speed)
    share = cover.astype(np.float32) / 255
    # Colours weighted by coverage, so that the unused colours outside do not bleed in.
    mixed = cv2.filter2D(cv2.merge([*cv2.split(colour * share[..., None]), share]), -1, kernel)
    alpha = mixed[..., 3]
    return mixed[..., :3] / np.maximum(alpha, 0.02)[..., None], np.round(255 * alpha).astype(np.uint8)


def motion_kernel(motion: Point, speed: float) -> np.ndarray:
    """The kernel of a uniform motion, float32, odd sides, sum 1; at most `MOST_BLUR` pixels long."""
    length = min(speed, MOST_BLUR)
    room = math.ceil(length / 2)
    dx, dy = (0.5 * length * part / speed * 16 for part in motion)
    kernel = np.zeros((2 * room + 1, 2 * room + 1), np.uint8)
    ends = (round(room * 16 - dx), round(room * 16 - dy)), (round(room * 16 + dx), round(room * 16 + dy))
    cv2.line(kernel, *ends, 255, 1, cv2.LINE_AA, 4)
    return kernel.astype(np.float32) / max(1.0, float(kernel.sum()))
