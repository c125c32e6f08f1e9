"""Outlines of shapes, and the coverage of those that change from frame to frame.

Outlines have radius 1 around the origin; y points down. A coverage is uint8: 0 outside, 255 inside,
between them on the antialiased edge.
"""

import math

import cv2
import numpy as np

from data_prep.world.paths import Point

SUBPIXEL_BITS = 4


def outlines(shape: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Corners of a shape, float32 (corners, 2), and of the hole or bite to take out of it, if any."""
    if shape == "ring":
        return _regular(64, 1.12), _regular(64, 0.58)
    if shape == "moon":
        return _regular(64, 1.15), _regular(64, 0.95) + np.array((0.55, -0.15), np.float32)
    return OUTLINES[shape], None


def outlines_varied(shape: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
    """As `outlines`, in proportions drawn at random and slightly irregular; some are thin.

    No corner is farther from the origin than 1.3, as those of `outlines`.
    """
    hole = None
    if shape == "ring":
        corners, hole = _regular(64, 1.12), _regular(64, 1.12 * float(rng.uniform(0.45, 0.86)))
    elif shape == "moon":
        corners = _regular(64, 1.15)
        bite = _regular(64, float(rng.uniform(0.85, 1.05)))
        hole = bite + np.array((rng.uniform(0.4, 0.7), rng.uniform(-0.2, 0.1)), np.float32)
    elif shape == "star":
        corners = _regular(10, 1.3, -math.pi / 2)
        corners[1::2] *= float(rng.uniform(0.4, 0.6))
    elif shape == "cross":
        corners = _cross(half=float(rng.uniform(0.16, 0.45)))
    else:
        # Wider or taller. A ball stays almost round, and a box may become a rectangle.
        most = {"ball": 1.05, "box": 1.3}.get(shape, 1.2)
        wide = float(rng.uniform(1 / most, most))
        corners = OUTLINES[shape] * np.array((min(1.0, wide), min(1.0, 1 / wide)), np.float32)
    # Slightly irregular, as what is made by hand: the distance from the centre varies with the angle.
    angles = np.arctan2(corners[:, 1], corners[:, 0])
    reach = float(rng.uniform(0, 0.03)) * np.sin(2 * angles + rng.uniform(0, 6)) - 0.03
    return (corners * (1 + reach[:, None])).astype(np.float32), hole


def fill(corners: np.ndarray, side: int) -> np.ndarray:
    """Coverage (side, side) of a polygon with corners in pixels."""
    return _fill_all([corners], side)


def outlined(shape: str, radius: float, side: int) -> np.ndarray:
    """Coverage (side, side) of a shape of fixed outline with this radius, in the middle."""
    corners, hole = outlines(shape)
    cover = fill(corners * radius + (side - 1) / 2, side)
    return cover if hole is None else cv2.subtract(cover, fill(hole * radius + (side - 1) / 2, side))


def blob(seed: int, t: float, middle: Point, radius: float, side: int) -> np.ndarray:
    """Coverage (side, side) of a puddle whose outline flows."""
    rng = np.random.default_rng((seed, 1))
    # A circle whose radius varies with the angle. Each number of lobes swells and turns at its own rate.
    angles = np.arange(56) * (2 * math.pi / 56)
    distance = np.ones(56)
    for lobes in (2, 3, 4, 5):
        reach, rate, turn = rng.uniform(0.07, 0.16), rng.uniform(0.05, 0.16), rng.uniform(0, 2 * math.pi)
        distance += reach * np.sin(lobes * angles + rate * t + turn) * math.sin(0.6 * rate * t + 2 * turn)
    corners = np.stack([distance * np.cos(angles), 0.85 * distance * np.sin(angles)], axis=1)
    return fill(corners * radius + middle, side)


def smoke(seed: int, t: float, middle: Point, radius: float, side: int) -> np.ndarray:
    """Coverage (side, side) of a few soft puffs; its edge is wide."""
    rng = np.random.default_rng((seed, 2))
    # How much light passes: each puff is a soft disc that lets part of it through.
    through = np.ones((side, side), np.float32)
    axis = np.arange(side, dtype=np.float32)
    columns, rows = (axis - middle[0]) / radius, (axis - middle[1]) / radius
    for number in range(8):
        # The first puff is in the centre, so that the smoke has no hole.
        far = 0.0 if number == 0 else rng.uniform(0.35, 0.7)
        around, wide, rate = rng.uniform(0, 2 * math.pi), rng.uniform(0.32, 0.5), rng.uniform(0.02, 0.07)
        # Puffs drift around the centre and swell.
        around += 0.8 * math.sin(rate * t)
        x, y = far * math.cos(around), far * math.sin(around)
        wide *= 1 + 0.15 * math.sin(2 * rate * t + around)
        across, down = np.exp(-(((columns - x) / wide) ** 2)), np.exp(-(((rows - y) / wide) ** 2))
        through *= 1 - 0.75 * np.outer(down, across)
    return (235 * np.clip(1.25 * (1 - through) - 0.1, 0, 1)).astype(np.uint8)


def flock(seed: int, t: float, middle: Point, radius: float, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Coverage of small birds that fly together, and of the flock as one (gaps between birds closed)."""
    rng = np.random.default_rng((seed, 3))
    wings = []
    for number in range(int(rng.integers(13, 20))):
        # A sunflower's spiral fills the disc evenly.
        far, around = 0.95 * math.sqrt((number + 0.5) / 20), 2.4 * number + rng.uniform(-0.3, 0.3)
        # Each bird wanders a little around its place, and flaps at its own phase.
        phase, rate = rng.uniform(0, 2 * math.pi), rng.uniform(0.03, 0.09)
        x = far * math.cos(around) + 0.1 * math.sin(rate * t + phase)
        y = far * math.sin(around) + 0.1 * math.cos(0.8 * rate * t + phase)
        flap = 0.12 + 0.09 * math.sin(0.9 * t + phase)
        wings.append(_bird(flap) * rng.uniform(0.95, 1.2) + (x, y))
    birds = _fill_all([wing * radius + middle for wing in wings], side)
    # The mask of the flock covers the gaps between its birds, as a person would mark it.
    reach = max(3, round(0.3 * radius) | 1)
    closed = cv2.morphologyEx(
        birds, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    )
    return birds, closed


def _bird(flap: float) -> np.ndarray:
    """A bird of two wings, raised by `flap`."""
    upper = [(-0.24, -flap), (-0.1, -flap * 0.8), (0.0, 0.0), (0.1, -flap * 0.8), (0.24, -flap)]
    lower = [(0.12, 0.02), (0.0, 0.13), (-0.12, 0.02)]
    return np.array(upper + lower, np.float32)


def _fill_all(polygons: list[np.ndarray], side: int) -> np.ndarray:
    cover = np.zeros((side, side), np.uint8)
    for corners in polygons:
        # OpenCV takes corners in fixed point, which avoids steps when a shape moves slowly.
        fixed = np.round(corners * (1 << SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(cover, [fixed], 255, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS)
    return cover


def _regular(corners: int, radius: float, turn: float = 0.0) -> np.ndarray:
    """Corners of a regular polygon, float32, (corners, 2)."""
    angles = turn + np.arange(corners) * (2 * math.pi / corners)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1).astype(np.float32)


def _star() -> np.ndarray:
    points = _regular(10, 1.3, -math.pi / 2)
    # Every second corner lies further inside.
    points[1::2] *= 0.5
    return points


def _cross(arm: float = 1.15, half: float = 0.4) -> np.ndarray:
    """A cross with arms of this length and half width."""
    # One arm; the others are the same, rotated by 90 degrees.
    quarter = np.array([(half, -arm), (half, -half), (arm, -half)], np.float32)
    turn = np.array([(0, 1), (-1, 0)], np.float32)
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, times) for times in range(4)])


def _heart() -> np.ndarray:
    angles = np.arange(48) * (2 * math.pi / 48)
    # The heart curve, a well-known parametric form.
    x = 16 * np.sin(angles) ** 3
    y = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles)
    return np.stack([x / 14.5, -(y + 2.5) / 14.5], axis=1).astype(np.float32)


OUTLINES: dict[str, np.ndarray] = {
    "ball": _regular(64, 1.0),
    "box": _regular(4, 1.25, math.pi / 4),
    "triangle": _regular(3, 1.3, -math.pi / 2),
    "star": _star(),
    "cross": _cross(),
    "heart": _heart(),
}
"""Shapes that are one polygon."""
