"""Noise and other greys that backgrounds and things are made of."""

import cv2
import numpy as np

from data_prep.geometry import Size


def noise(rng: np.random.Generator, size: Size, cells: int, tall: float = 1.0) -> np.ndarray:
    """Smooth noise of deviation about 1, float32 (height, width), with `cells` bumps from top to bottom.

    `tall` above 1 makes the bumps that much taller than wide.
    """
    width, height = size
    across = max(2, round(cells * tall * width / height))
    coarse = rng.standard_normal((max(2, cells), across), np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def fractal(rng: np.random.Generator, size: Size, cells: tuple[int, ...], fall: float = 0.6) -> np.ndarray:
    """Noise at many scales, each `fall` times as strong as the one before; float32 (height, width)."""
    total = np.zeros((size[1], size[0]), np.float32)
    for octave, count in enumerate(cells):
        total += fall**octave * noise(rng, size, count)
    return total


def coloured(grey: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """A colour (3,) with a grey added to each channel; float32 (height, width, 3)."""
    return grey[..., None] + colour.astype(np.float32)


def muted(rng: np.random.Generator, low: float = 80, high: float = 165, chroma: float = 18) -> np.ndarray:
    """A colour near grey, float32 (3,); `low` to `high` is its brightness, 0 to 255."""
    return (rng.uniform(low, high) + rng.uniform(-chroma, chroma, 3)).astype(np.float32)
