"""Noise and plain textures that backgrounds and things are made of; and the backgrounds of the
`varied` look.
"""

from collections.abc import Callable

import cv2
import numpy as np

from data_prep.geometry import Size


def noise(rng: np.random.Generator, size: Size, cells: int, tall: float = 1.0) -> np.ndarray:
    """Smooth noise with a standard deviation of about 1, float32 (height, width).

    It has `cells` bumps from top to bottom, which are `tall` times as tall as wide. It is random noise on a
    coarse grid, interpolated.
    """
    width, height = size
    across = max(2, round(cells * tall * width / height))
    # Noise on a coarse grid, interpolated to the full size.
    coarse = rng.standard_normal((max(2, cells), across), np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def fractal(rng: np.random.Generator, size: Size, cells: tuple[int, ...], fall: float = 0.6) -> np.ndarray:
    """Fractal noise: a sum of noise at several scales (`cells`), each `fall` times as strong as the
    one before.
    """
    total = np.zeros((size[1], size[0]), np.float32)
    for octave, count in enumerate(cells):
        total += fall**octave * noise(rng, size, count)
    return total


def coloured(grey: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """A colour (3,) with a grey image added to each channel; float32 (height, width, 3)."""
    return grey[..., None] + colour.astype(np.float32)


def muted(rng: np.random.Generator, low: float = 80, high: float = 165, chroma: float = 18) -> np.ndarray:
    """A colour near grey, float32 (3,); `low` to `high` is its brightness, 0 to 255."""
    return (rng.uniform(low, high) + rng.uniform(-chroma, chroma, 3)).astype(np.float32)


def varied_light(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The image with a random brightness, contrast and saturation; float32."""
    grey = image.mean(axis=2, keepdims=True)
    # Set the contrast to a random one, but amplify at most four times: more would show the noise.
    contrast = float(rng.uniform(6, 70)) / (float(grey.std()) + 1e-3)
    level = float(rng.uniform(30, 215))
    return level + (grey - grey.mean()) * min(contrast, 4.0) + (image - grey) * float(rng.uniform(0.3, 1.5))


def _bare(rng: np.random.Generator, size: Size) -> np.ndarray:
    """A bare surface, lit from one side."""
    width, height = size
    # A linear slope of brightness in a random direction.
    slope = np.add.outer(
        np.linspace(-1, 1, height, dtype=np.float32) * rng.uniform(-1, 1),
        np.linspace(-1, 1, width, dtype=np.float32) * rng.uniform(-1, 1),
    )
    return coloured(25 * slope + 3 * fractal(rng, size, (3, 40, 120)), _any_colour(rng))


def _grid(rng: np.random.Generator, size: Size) -> np.ndarray:
    """A surface ruled both ways and perhaps across, seen at a slant."""
    step, turn = float(rng.uniform(6, 30)), float(rng.uniform(-0.5, 0.5))
    image = _bare(rng, size)
    ruled = np.zeros((size[1], size[0]), np.float32)
    # Two sets of parallel lines at a right angle, and sometimes a third, wider one across.
    for angle in (turn, turn + np.pi / 2):
        ruled = np.maximum(ruled, _lines(rng, size, angle, step))
    if rng.random() < 0.4:
        ruled = np.maximum(ruled, _lines(rng, size, turn + float(rng.uniform(0.3, 1.2)), 12 * step))
    return image + ruled[..., None] * float(rng.choice((-1, 1)) * rng.uniform(40, 150))


def _lines(rng: np.random.Generator, size: Size, angle: float, step: float) -> np.ndarray:
    """Parallel lines that may draw closer with distance, float32 (height, width), 0 to 1."""
    width, height = size
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    # The distance of the lines changes from top to bottom, as in perspective.
    far = 1 + float(rng.uniform(-0.4, 0.4)) * (y / height - 0.5)
    along = (x * np.cos(angle) + y * np.sin(angle)) / (step * far)
    # The distance of each pixel from the nearest line, in pixels.
    off = np.abs(along - np.round(along)) * step
    return np.clip(float(rng.uniform(0.7, 1.6)) - off, 0, 1)


def _stripes(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Planks, blinds or cloth: bands of two colours or more."""
    width, height = size
    angle, step = float(rng.uniform(0, np.pi)), float(rng.uniform(6, 50))
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    # The number of the band that each pixel lies in.
    band = np.floor((x * np.cos(angle) + y * np.sin(angle)) / step).astype(int)
    colours = np.stack([_any_colour(rng) for _ in range(int(rng.integers(2, 6)))])
    return colours[band % len(colours)] + 6 * noise(rng, size, 30, 4.0)[..., None]


def _pieces(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Furniture, books, cards: sharp pieces over each other."""
    image = _bare(rng, size)
    for _ in range(int(rng.integers(4, 30))):
        middle = (float(rng.uniform(0, size[0])), float(rng.uniform(0, size[1])))
        sides = (float(rng.uniform(0.03, 0.5)) * size[0], float(rng.uniform(0.02, 0.3)) * size[1])
        corners = cv2.boxPoints((middle, sides, float(rng.uniform(0, 180)))).astype(np.int32)
        cv2.fillPoly(image, [corners], _any_colour(rng).tolist(), cv2.LINE_AA)
    return image


def _print(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Rows of letters on paper."""
    width, height = size
    image, ink = _bare(rng, size), np.zeros((height, width), np.uint8)
    scale = float(rng.uniform(0.25, 1.0))
    row = 24 * scale
    for number in range(int(height / row) + 1):
        # Codes 97 to 122 are a to z. A letter is about 14 pixels wide at scale 1.
        text = "".join(chr(int(code)) for code in rng.integers(97, 123, int(width / (14 * scale))))
        cv2.putText(ink, text, (0, int(number * row)), 0, scale, 255, 1, cv2.LINE_AA)
    return image + (_any_colour(rng) - image) * (ink[..., None].astype(np.float32) / 255)


def _any_colour(rng: np.random.Generator) -> np.ndarray:
    """A colour that most often is near grey, float32 (3,)."""
    return muted(rng, 20, 235, float(rng.choice((10, 25, 60))))


PATTERN_PAINTERS: tuple[Callable[[np.random.Generator, Size], np.ndarray], ...] = (
    _bare,
    _grid,
    _stripes,
    _pieces,
    _print,
)
