"""Painting a scene: one frame and the visible mask of each thing."""

import math
from functools import lru_cache

import cv2
import numpy as np

from data_prep.world.presets import WorldPreset
from data_prep.world.scene import Scene, Thing
from data_prep.world.vocabulary import COLOURS, outline

SUBPIXEL_BITS = 4


def draw_frame(scene: Scene, t: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Paint frame `t` of a scene.

    Returns the picture, RGB uint8 (height, width, 3), and for each thing the mask of what is
    seen of it, bool (height, width): what later things and pillars hide is left out.
    """
    picture = background(scene.seed, scene.preset).copy()
    width, height = scene.preset.size
    masks: list[np.ndarray] = []
    for thing in scene.things:
        mask = np.zeros((height, width), bool)
        _paint(picture, mask, masks, thing, t, scene.preset.textured)
        masks.append(mask)
    for left, right in scene.pillars:
        columns = slice(round(left), round(right))
        picture[:, columns] = _pillar(columns.stop - columns.start)
        for mask in masks:
            mask[:, columns] = False
    return picture, masks


@lru_cache(maxsize=4)
def background(seed: int, preset: WorldPreset) -> np.ndarray:
    """The empty picture of a scene, RGB uint8: muted colours, so that things stand out."""
    rng = np.random.default_rng((seed, 1))
    width, height = preset.size
    base = (rng.uniform(60, 170) + rng.uniform(-14, 14, 3)).astype(np.float32)
    if not preset.textured:
        return np.broadcast_to(base.astype(np.uint8), (height, width, 3))
    light = 4 * rng.standard_normal((height, width), np.float32)
    for cells, strength in ((3, 26), (9, 14), (40, 7)):
        coarse = strength * rng.standard_normal((cells, cells * width // height), np.float32)
        light += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(light[..., None] + base, 0, 255).astype(np.uint8)


def _paint(
    picture: np.ndarray, mask: np.ndarray, below: list[np.ndarray], thing: Thing, t: int, textured: bool
) -> None:
    """Blend a thing into the picture, write its mask, and take it out of the masks below; all in place."""
    height, width = mask.shape
    corners = _corners(thing, t, far=math.hypot(width, height))
    left, top = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + 2, (width, height))
    if left >= right or top >= bottom:
        return
    window = slice(top, bottom), slice(left, right)
    coverage = np.zeros((bottom - top, right - left), np.uint8)
    fixed = np.round((corners - (left, top)) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(coverage, [fixed], 255, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS)
    solid = coverage > 127
    mask[window] = solid
    for other in below:
        other[window] &= ~solid
    alpha = coverage.astype(np.float32)[..., None] / 255
    colour = _shaded(thing, textured, top, bottom, t, math.hypot(width, height))
    picture[window] = np.round(picture[window] * (1 - alpha) + colour * alpha).astype(np.uint8)


def _corners(thing: Thing, t: int, far: float) -> np.ndarray:
    """The thing's outline at frame `t`, in pixels of the frame, float (corners, 2)."""
    angle = thing.angle + thing.spin * t
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return outline(thing.shape) @ turn * thing.radius + np.array(thing.position(t, far))


def _shaded(thing: Thing, textured: bool, top: int, bottom: int, t: int, far: float) -> np.ndarray:
    """The thing's colour, float32: (3,), or (rows, 1, 3) where light falls from above."""
    colour = np.array(COLOURS[thing.colour], np.float32)
    if not textured:
        return colour
    middle = thing.position(t, far)[1]
    rows = (np.arange(top, bottom, dtype=np.float32) - middle) / max(thing.radius, 1.0)
    light = 1.0 - 0.15 * np.clip(rows, -1, 1)
    return np.clip(colour * light[:, None, None], 0, 255)


def _pillar(width: int) -> np.ndarray:
    """A standing dark post, uint8 (1, width, 3), lighter in its middle."""
    light = 45 + 40 * np.sin(np.linspace(0, math.pi, width))
    return np.repeat(light[None, :, None], 3, axis=2).astype(np.uint8)
