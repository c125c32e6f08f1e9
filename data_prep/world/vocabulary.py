"""What things of the rendered world look like, and what people call them."""

import math

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 214),
    "yellow": (240, 214, 40),
    "purple": (140, 50, 170),
    "orange": (244, 130, 20),
    "white": (242, 242, 242),
    "pink": (244, 140, 190),
}
"""Colour word to RGB."""

SHAPE_NAMES: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "disc", "ball"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross", "plus sign"),
}
"""Shape to the words for it, the commonest first."""

PHRASES: tuple[str, ...] = ("the {colour} {shape}", "{colour} {shape}", "the {shape} that is {colour}")
"""Ways to refer to a thing by its colour and shape."""


def outline(shape: str) -> np.ndarray:
    """Corners of a shape of radius 1 around the origin, float32, (corners, 2); y points down."""
    if shape == "circle":
        return _ring(32, 1.0)
    if shape == "square":
        return _ring(4, 1.1, turn=math.pi / 4)
    if shape == "triangle":
        return _ring(3, 1.2, turn=-math.pi / 2)
    if shape == "star":
        points = _ring(10, 1.2, turn=-math.pi / 2)
        points[1::2] *= 0.45
        return points
    if shape == "cross":
        arm, half = 1.1, 0.38
        quarter = np.array([(half, -arm), (half, -half), (arm, -half)], dtype=np.float32)
        turns = [np.array([(0, 1), (-1, 0)], dtype=np.float32)] * 4
        corners, current = [], quarter
        for turn in turns:
            corners.append(current)
            current = current @ turn
        return np.concatenate(corners)
    raise ValueError(f"no shape named {shape!r}")


def _ring(corners: int, radius: float, turn: float = 0.0) -> np.ndarray:
    """Corners of a regular polygon, float32, (corners, 2)."""
    angles = turn + np.arange(corners) * (2 * math.pi / corners)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1).astype(np.float32)
