"""Painting a scene: one frame and the visible mask of each thing."""

import math
from functools import lru_cache

import cv2
import numpy as np

from data_prep.world.scene import Scene, Thing
from data_prep.world.vocabulary import COLOURS, outline

SUBPIXEL_BITS = 4


def draw_frame(scene: Scene, t: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Paint frame `t` of a scene.

    Returns the picture, RGB uint8 (height, width, 3), and for each thing the mask of what is
    seen of it, bool (height, width): what later things and pillars hide is left out.
    """
    picture = background(scene).copy()
    width, height = scene.preset.size
    far = math.hypot(width, height)
    masks: list[np.ndarray] = []
    for thing in scene.things:
        coverage = _coverage(thing, t, far, (height, width))
        _paint(picture, coverage, _shaded(thing, scene.preset.textured, (height, width), t, far))
        solid = coverage > 127
        for below in masks:
            below &= ~solid
        masks.append(solid)
    for left, right in scene.pillars:
        columns = slice(round(left), round(right))
        picture[:, columns] = _pillar(scene, columns.stop - columns.start)
        for mask in masks:
            mask[:, columns] = False
    return picture, masks


@lru_cache(maxsize=4)
def background(scene: Scene) -> np.ndarray:
    """The empty picture of a scene, RGB uint8: muted colours, so that things stand out."""
    rng = np.random.default_rng((scene.seed, 1))
    width, height = scene.preset.size
    base = rng.uniform(60, 170) + rng.uniform(-14, 14, 3)
    picture = np.broadcast_to(base.astype(np.float32), (height, width, 3)).copy()
    if scene.preset.textured:
        for cells, strength in ((3, 26), (9, 14), (40, 7)):
            coarse = rng.normal(0, strength, (cells, cells * width // height, 1)).astype(np.float32)
            picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
        picture += rng.normal(0, 4, (height, width, 1)).astype(np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _coverage(thing: Thing, t: int, far: float, shape: tuple[int, int]) -> np.ndarray:
    """How much of each pixel the whole thing covers, uint8 (height, width)."""
    canvas = np.zeros(shape, np.uint8)
    angle = thing.angle + thing.spin * t
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    corners = outline(thing.shape) @ turn * thing.radius + np.array(thing.position(t, far))
    fixed = np.round(corners * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(canvas, [fixed], 255, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS)
    return canvas


def _shaded(thing: Thing, textured: bool, shape: tuple[int, int], t: int, far: float) -> np.ndarray:
    """The thing's colour, float32, (3,) or (height, 1, 3) where light falls from above."""
    colour = np.array(COLOURS[thing.colour], np.float32)
    if not textured:
        return colour
    middle = thing.position(t, far)[1]
    rows = (np.arange(shape[0], dtype=np.float32) - middle) / max(thing.radius, 1.0)
    light = 1.0 - 0.15 * np.clip(rows, -1, 1)
    return np.clip(colour * light[:, None, None], 0, 255)


def _paint(picture: np.ndarray, coverage: np.ndarray, colour: np.ndarray) -> None:
    """Blend a colour into a picture in place, only where the coverage is not zero."""
    rows = np.flatnonzero(coverage.any(axis=1))
    if rows.size == 0:
        return
    columns = np.flatnonzero(coverage.any(axis=0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    alpha = coverage[window].astype(np.float32)[..., None] / 255
    paint = colour if colour.ndim == 1 else colour[window[0]]
    picture[window] = np.round(picture[window] * (1 - alpha) + paint * alpha).astype(np.uint8)


def _pillar(scene: Scene, width: int) -> np.ndarray:
    """A standing dark post, uint8 (1, width, 3), lighter in its middle."""
    light = 45 + 40 * np.sin(np.linspace(0, math.pi, width))
    return np.repeat(light[None, :, None], 3, axis=2).astype(np.uint8)
