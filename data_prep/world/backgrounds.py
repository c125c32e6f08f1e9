"""Backgrounds by code that look a little like photographs: muted, so that things' colours can be named."""

from collections.abc import Callable

import cv2
import numpy as np

from data_prep.geometry import Size
from data_prep.world.clutter import strew
from data_prep.world.presets import WorldPreset
from data_prep.world.scenery import SCENERY, lit
from data_prep.world.textures import PATTERN_PAINTERS, coloured, fractal, muted, noise, varied_light

MARGIN = 0.12  # how far the painted background reaches beyond each side of the image, as a share of it


def canvas_size(preset: WorldPreset) -> tuple[Size, tuple[int, int]]:
    """Width and height of the painted background, and where in the world its first pixel lies."""
    width, height = preset.size
    left, top = round(MARGIN * width), round(MARGIN * height)
    return (width + 2 * left, height + 2 * top), (-left, -top)


def paint_background(seed: int, preset: WorldPreset) -> np.ndarray:
    """The empty world of a scene, RGB uint8, of `canvas_size`."""
    # Each part of a scene has its own random generator, so a change of one part leaves the others as they
    # are.
    rng = np.random.default_rng((seed, 1))
    size, _ = canvas_size(preset)
    # The plain look: one colour with a little noise.
    if preset.look == "plain":
        light = 3 * rng.standard_normal((size[1], size[0]), np.float32)
        return _bytes(coloured(light, muted(rng, 90, 150)))
    if preset.look == "footage":
        return _footage(rng, size)
    # The varied look adds its own kinds of backgrounds, twice as often as the others.
    varied = preset.look == "varied"
    painters = PAINTERS + 2 * PATTERN_PAINTERS if varied else PAINTERS
    painter = painters[int(rng.integers(len(painters)))]
    # Painted at half the size: four times as fast, and as soft as what lies out of focus.
    image = painter(rng, (size[0] // 2, size[1] // 2))
    _cast_shadows(rng, image)
    image = _bytes(varied_light(rng, image) if varied else _tamed(image, float(rng.uniform(0.45, 0.9))))
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def _footage(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Scenery with clutter on it; the clutter is painted in full size, so it is sharp."""
    painters = 3 * SCENERY + PAINTERS + PATTERN_PAINTERS
    image = lit(rng, painters[int(rng.integers(len(painters)))](rng, (size[0] // 2, size[1] // 2)))
    # OpenCV draws jagged edges on images of floats; a little blur hides them.
    soft = cv2.GaussianBlur(_bytes(image), (3, 3), 0.7)
    full = cv2.resize(soft, size, interpolation=cv2.INTER_CUBIC)
    return strew(rng, full, float(rng.uniform(0, 2 * np.pi)))


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.uint8)


def _tamed(image: np.ndarray, saturation: float) -> np.ndarray:
    """Reduce the saturation, and move the brightness to where black and white things remain visible."""
    grey = image.mean(axis=2, keepdims=True)
    middle = float(grey.mean())
    spread = float(grey.std()) + 1e-3
    # Medium brightness, and less contrast where there is much: things of all ten colours must stand out.
    level = min(max(middle, 102.0), 155.0) + np.clip((grey - middle) * min(1.0, 26.0 / spread), -50, 50)
    return level + (image - grey) * saturation


def _cast_shadows(rng: np.random.Generator, image: np.ndarray) -> None:
    """Darken the image softly here and there, in place."""
    height, width = image.shape[:2]
    # A coarse grid of factors, interpolated to the whole image.
    cells = rng.uniform(0.75, 1.1, (3, 4)).astype(np.float32)
    image *= cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]


def _rough(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Noise at many scales, such as earth, cloth or concrete."""
    # Brightness varies at six scales; a second, coarse noise shifts the colour.
    light = 30 * fractal(rng, size, (2, 5, 11, 27, 70, 140), float(rng.uniform(0.45, 0.7)))
    hue = 10 * noise(rng, size, 4)
    return coloured(light, muted(rng)) + hue[..., None] * rng.uniform(-1, 1, 3).astype(np.float32)


def _landscape(rng: np.random.Generator, size: Size) -> np.ndarray:
    """A sky, hills, and grass in front."""
    width, height = size
    # 1. The sky: lighter towards the horizon, with clouds.
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    top, low = np.array([125, 150, 185], np.float32), muted(rng, 150, 175, 10)
    image = np.broadcast_to(top + (low - top) * np.minimum(1, rows * 2), (height, width, 3)).copy()
    image += 9 * fractal(rng, size, (3, 7, 15))[..., None]
    # 2. Layers of hills from back to front. The outline of each is a sum of waves, the steeper the nearer.
    horizon, columns = float(rng.uniform(0.3, 0.5)), np.arange(width)
    layers = int(rng.integers(2, 4))
    for layer in range(layers):
        line = height * (horizon + 0.14 * layer) + 1.5 * np.sin(columns * rng.uniform(0.2, 0.5))
        for waves in (1.5, 4.0, 9.0):
            turn = rng.uniform(0, 2 * np.pi)
            line += 0.05 * height / waves**0.7 * np.sin(columns * (2 * np.pi * waves / width) + turn)
        below = np.arange(height)[:, None] >= line[None]
        # Nearer hills are greener and show more grass.
        near = (layer + 1) / layers
        green = np.array([118, 128, 112], np.float32) - near * np.array([18, 8, 40], np.float32)
        grass = near * (16 * noise(rng, size, 36, 3.0) + 12 * noise(rng, size, 12))
        image[below] = (coloured(grass, green + rng.uniform(-12, 12, 3)))[below]
    return image


def _room(rng: np.random.Generator, size: Size) -> np.ndarray:
    """A wall with a few frames on it, and a floor of tiles or planks in perspective."""
    width, height = size
    # 1. The wall, sometimes with striped wallpaper.
    image = coloured(6 * fractal(rng, size, (3, 9, 60)), muted(rng, 110, 165))
    if rng.random() < 0.4:
        image += 8 * np.sign(np.sin(np.arange(width) * rng.uniform(0.16, 0.6)))[None, :, None]
    # 2. Framed pictures on it.
    for _ in range(int(rng.integers(1, 4))):
        x, y = int(rng.integers(width)), int(rng.integers(height // 2))
        w, h = int(rng.integers(20, 60)), int(rng.integers(20, 55))
        cv2.rectangle(image, (x, y), (x + w, y + h), muted(rng, 70, 160).tolist(), -1)
        cv2.rectangle(image, (x, y), (x + w, y + h), muted(rng, 60, 100).tolist(), 2)
    # 3. The floor, and a baseboard along its edge.
    edge = int(height * rng.uniform(0.5, 0.7))
    image[edge:] = _floor(rng, (width, height - edge))
    cv2.rectangle(image, (0, edge - 3), (width, edge), muted(rng, 70, 150).tolist(), -1)
    return image


def _floor(rng: np.random.Generator, size: Size) -> np.ndarray:
    """A floor seen at a slant, float32 (height, width, 3)."""
    width, height = size
    # 1. A flat floor of tiles or, with two rows, planks, with dark joints.
    side, rows = 240, 12 if rng.random() < 0.5 else 2
    shades = rng.uniform(-18, 18, (rows, 12)).astype(np.float32)
    tiles = cv2.resize(shades, (side, side), interpolation=cv2.INTER_NEAREST)
    tiles[:, :: side // 12] -= 25
    tiles[:: side // rows] -= 25
    tiles += 6 * noise(rng, (side, side), 24 if rows > 2 else 6, 1.0 if rows > 2 else 8.0)
    # 2. The same in perspective: the far edge is narrower than the near one.
    shrink, slide = float(rng.uniform(0.2, 0.34)), float(rng.uniform(-0.1, 0.1)) * side
    source = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    reach = width * shrink / (1 - 2 * shrink) + 20
    target = np.array([[slide, 0], [width + slide, 0], [width + reach, height], [-reach, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    flat = cv2.warpPerspective(tiles, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return coloured(flat, muted(rng, 85, 140, 22))


def _clutter(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Many blurred muted pieces."""
    width, height = size
    image = coloured(14 * fractal(rng, size, (3, 8)), muted(rng))
    for _ in range(int(rng.integers(25, 60))):
        # Each piece has a random place, size, colour and kind: ellipse, rectangle or line.
        middle = (int(rng.integers(width)), int(rng.integers(height)))
        w, h = (int(side) for side in rng.uniform(0.03, 0.2, 2) * width)
        colour = muted(rng, 70, 180, 22).tolist()
        kind, angle = int(rng.integers(3)), float(rng.uniform(0, 180))
        if kind == 0:
            cv2.ellipse(image, middle, (w // 2, h // 2), angle, 0, 360, colour, -1)
        elif kind == 1:
            corners = cv2.boxPoints((middle, (w, h), angle)).astype(np.int32)
            cv2.fillPoly(image, [corners], colour)
        else:
            end = (middle[0] + w, middle[1] + h - int(0.1 * width))
            cv2.line(image, middle, end, colour, int(rng.integers(1, 4)))
    # Blurred, as things that are out of focus.
    blur = float(rng.uniform(0.4, 2.0))
    return cv2.GaussianBlur(image, (0, 0), blur) + 5 * fractal(rng, size, (30, 90))[..., None]


def _bokeh(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Lights out of focus."""
    width, height = size
    image = coloured(16 * fractal(rng, size, (2, 4, 8)), muted(rng, 75, 120))
    discs = np.zeros_like(image)
    for _ in range(int(rng.integers(18, 36))):
        middle = (int(rng.integers(width)), int(rng.integers(height)))
        radius = int(rng.uniform(0.02, 0.09) * height)
        # Discs of light are added to each other, since light out of focus overlaps.
        layer = rng.uniform(0.2, 0.6) * rng.uniform(30, 90) * (1 + rng.uniform(-0.2, 0.2, 3))
        one = np.zeros((2 * radius + 1, 2 * radius + 1, 3), np.float32)
        cv2.circle(one, (radius, radius), radius, layer.tolist(), -1, cv2.LINE_AA)
        left, top = middle[0] - radius, middle[1] - radius
        x0, y0 = max(0, left), max(0, top)
        part = discs[y0 : top + 2 * radius + 1, x0 : left + 2 * radius + 1]
        part += one[y0 - top : y0 - top + part.shape[0], x0 - left : x0 - left + part.shape[1]]
    return image + cv2.GaussianBlur(discs, (0, 0), 0.8)


PAINTERS: tuple[Callable[[np.random.Generator, Size], np.ndarray], ...] = (
    _rough,
    _landscape,
    _room,
    _clutter,
    _bokeh,
)
