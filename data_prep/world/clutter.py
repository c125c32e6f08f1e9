"""Unlabelled objects of the footage look: what lies around and has no name here.

Their colours are between those that have a name, so that no expression fits them. Exceptions are tiny pieces
of any colour, and cables that are as dark as black things.
"""

import colorsys
import math

import cv2
import numpy as np

from data_prep.geometry import Size
from data_prep.world.textures import fractal

NAMELESS: tuple[tuple[float, float, float, float, float, float], ...] = (
    (0.0, 1.0, 0.0, 0.1, 0.25, 0.75),  # greys
    (0.055, 0.09, 0.4, 0.75, 0.28, 0.58),  # browns
    (0.08, 0.12, 0.18, 0.42, 0.55, 0.86),  # beige, tan, sand
    (0.105, 0.125, 0.55, 0.8, 0.42, 0.6),  # ochre
    (0.15, 0.2, 0.35, 0.65, 0.3, 0.52),  # olive
    (0.46, 0.5, 0.3, 0.75, 0.28, 0.5),  # teal
    (0.56, 0.62, 0.15, 0.35, 0.3, 0.62),  # slate, denim
    (0.88, 0.97, 0.15, 0.35, 0.4, 0.65),  # mauve, dusty rose
    (0.9, 0.95, 0.5, 0.8, 0.25, 0.42),  # wine
    (0.015, 0.045, 0.35, 0.55, 0.45, 0.66),  # brick, terracotta
)
"""Ranges of hue, saturation and value, 0 to 1, in which no colour of the vocabulary lies."""


def nameless_colour(rng: np.random.Generator) -> np.ndarray:
    """A colour that none of the ten names fits, float32 (3,), 0 to 255."""
    hue0, hue1, sat0, sat1, low, high = NAMELESS[int(rng.integers(len(NAMELESS)))]
    hue, sat, value = rng.uniform(hue0, hue1), rng.uniform(sat0, sat1), rng.uniform(low, high)
    return np.array(colorsys.hsv_to_rgb(hue, sat, value), np.float32) * 255


def strew(rng: np.random.Generator, image: np.ndarray, light: float) -> np.ndarray:
    """The image, RGB uint8, with clutter on it."""
    height, width = image.shape[:2]
    # 1. Draw the objects on a copy, and where they cast shadows on a small map.
    count = int(rng.choice((0, 3, 8, 16, 30), p=(0.12, 0.2, 0.28, 0.25, 0.15)))
    if not count:
        return image
    scale = float(rng.uniform(0.5, 1.3))
    pieces = []
    for _ in range(count):
        middle = np.array((rng.uniform(0, width), rng.uniform(0, height)))
        reach = float(rng.uniform(0.02, 0.13) if rng.random() < 0.85 else rng.uniform(0.13, 0.3))
        pieces.append((middle, reach * scale * height, int(rng.integers(len(PAINTERS)))))
    small = np.full((height // 4, width // 4), 255, np.uint8)
    away = -np.array((math.cos(light), math.sin(light)))
    for middle, reach, _ in pieces:
        centre = np.round((middle + away * 0.2 * reach) / 4).astype(int)
        cv2.circle(small, (int(centre[0]), int(centre[1])), max(1, round(reach / 4.2)), 150, -1)
    shade = cv2.resize(cv2.GaussianBlur(small, (0, 0), 2.5), (width, height), interpolation=cv2.INTER_LINEAR)
    image = cv2.multiply(image, cv2.merge([shade] * 3), scale=1 / 255)
    for middle, reach, kind in pieces:
        PAINTERS[kind](rng, image, middle, reach)
    # 2. Tiny pieces, of any colour.
    for _ in range(int(rng.integers(0, 14))):
        spot = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(image, spot, int(rng.integers(1, 3)), rng.integers(0, 256, 3).tolist(), -1, cv2.LINE_AA)
    return image


def _polygon(image: np.ndarray, corners: np.ndarray, colour: np.ndarray) -> None:
    """Fill a polygon, corners (N, 2) in pixels, in place."""
    fixed = np.round(corners * 16).astype(np.int32)
    cv2.fillPoly(image, [fixed], np.clip(colour, 0, 255).tolist(), cv2.LINE_AA, 4)


def _rotated(points: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _rectangle(middle: np.ndarray, wide: float, high: float, angle: float) -> np.ndarray:
    corners = np.array([(-wide, -high), (wide, -high), (wide, high), (-wide, high)])
    return _rotated(corners, angle) + middle


def _lump(rng: np.random.Generator, image: np.ndarray, middle: np.ndarray, reach: float) -> None:
    """An irregular, long lump: a stone, a bag, a toy; in a dark, a plain and a light layer."""
    angles = np.arange(28) * (2 * math.pi / 28)
    far = np.ones(28)
    for lobes in (2, 3, 5):
        far += rng.uniform(0.05, 0.22) * np.sin(lobes * angles + rng.uniform(0, 6))
    long = float(rng.uniform(0.28, 0.55))
    corners = np.stack([far * np.cos(angles), long * far * np.sin(angles)], axis=1) * reach
    corners = _rotated(corners, float(rng.uniform(0, math.pi)))
    colour = nameless_colour(rng)
    for share, tone, up in ((1.0, 0.72, 0.0), (0.86, 1.0, 0.06), (0.5, 1.1, 0.16)):
        _polygon(image, corners * share + middle - (0, up * reach), colour * tone)


def _slab(rng: np.random.Generator, image: np.ndarray, middle: np.ndarray, reach: float) -> None:
    """A long block with three faces: a book, a carton, a board, a piece of furniture."""
    angle, colour = float(rng.uniform(-0.6, 0.6)), nameless_colour(rng)
    wide, high = reach, reach * float(rng.uniform(0.2, 0.55))
    if rng.random() < 0.3:
        wide, high = high, wide
    top = _rectangle(middle, wide, high, angle)
    drop = np.array((float(rng.uniform(-0.15, 0.15)), float(rng.uniform(0.1, 0.5)))) * reach
    # The two sides below the top face, the one on the right darker.
    _polygon(image, np.stack([top[2], top[3], top[3] + drop, top[2] + drop]), colour * 0.68)
    _polygon(image, np.stack([top[1], top[2], top[2] + drop, top[1] + drop]), colour * 0.52)
    _polygon(image, top, colour)
    # Drawers, a title or an edge on the top.
    for _ in range(int(rng.integers(0, 4))):
        inner = rng.uniform(0.1, 0.8, 2)
        part = _rectangle(middle, wide * inner[0], high * inner[1], angle)
        line = np.round(part).astype(np.int32)
        tone = float(rng.choice((0.6, 0.8, 1.25)))
        cv2.polylines(image, [line], True, np.clip(colour * tone, 0, 255).tolist(), 1, cv2.LINE_AA)


def _bottle(rng: np.random.Generator, image: np.ndarray, middle: np.ndarray, reach: float) -> None:
    """A bottle, jar or brush: a body with a neck and a cap, and a light streak along it."""
    angle, colour = float(rng.uniform(0, 2 * math.pi)), nameless_colour(rng)
    wide = reach * float(rng.uniform(0.22, 0.4))
    for begin, end, share, part in (
        (-1.0, 0.35, 1.0, colour),
        (0.3, 0.75, 0.45, colour * 0.85),
        (0.7, 1.0, 0.55, nameless_colour(rng)),
    ):
        outline = np.array(
            [(begin, -share), (end, -share * 0.85), (end, share * 0.85), (begin, share)]
        ) * np.array((reach, wide))
        _polygon(image, _rotated(outline, angle) + middle, part)
    streak = np.array([(-0.9, -0.55), (0.3, -0.5), (0.3, -0.3), (-0.9, -0.3)]) * np.array((reach, wide))
    _polygon(image, _rotated(streak, angle) + middle, colour * 0.6 + 95)


def _cable(rng: np.random.Generator, image: np.ndarray, middle: np.ndarray, reach: float) -> None:
    """A thin, curved line: a cable, a string, a twig."""
    steps = np.linspace(-1, 1, 24)
    bend = sum(
        rng.uniform(-0.6, 0.6) / rate * np.sin(rate * steps * 2 + rng.uniform(0, 6)) for rate in (1, 2, 4)
    )
    curve = _rotated(np.stack([steps * 2, bend], axis=1) * reach, float(rng.uniform(0, math.pi))) + middle
    colour = nameless_colour(rng) * float(rng.uniform(0.5, 1.2))
    fixed = np.round(curve * 16).astype(np.int32)
    wide = int(rng.integers(1, 4))
    cv2.polylines(image, [fixed], False, np.clip(colour, 0, 255).tolist(), wide, cv2.LINE_AA, 4)


def _paper(rng: np.random.Generator, image: np.ndarray, middle: np.ndarray, reach: float) -> None:
    """A sheet with lines of print, off-white."""
    angle = float(rng.uniform(-0.7, 0.7))
    sheet = np.array((206, 200, 186)) * rng.uniform(0.75, 1.0)
    high = reach * float(rng.uniform(0.5, 0.8))
    _polygon(image, _rectangle(middle, reach, high, angle), sheet)
    ink = nameless_colour(rng) * 0.6
    for line in np.arange(-0.8, 0.8, float(rng.uniform(0.12, 0.3))):
        ends = np.array([(-0.85, line), (float(rng.uniform(-0.3, 0.85)), line)]) * (reach, high)
        a, b = (np.round((_rotated(ends, angle) + middle) * 16)).astype(int)
        cv2.line(image, (int(a[0]), int(a[1])), (int(b[0]), int(b[1])), ink.tolist(), 1, cv2.LINE_AA, 4)


def _text(rng: np.random.Generator, image: np.ndarray, middle: np.ndarray, reach: float) -> None:
    """A few printed letters without a sheet."""
    letters = "".join(chr(int(code)) for code in rng.integers(65, 91, int(rng.integers(2, 8))))
    scale = max(0.3, reach / 40)
    place = (int(middle[0] - reach), int(middle[1]))
    font = int(rng.integers(0, 5))
    cv2.putText(image, letters, place, font, scale, nameless_colour(rng).tolist(), 1, cv2.LINE_AA)


def _crumpled(rng: np.random.Generator, image: np.ndarray, middle: np.ndarray, reach: float) -> None:
    """A cloth or bag: facets of one colour in many tones around a point."""
    count, colour = int(rng.integers(7, 13)), nameless_colour(rng)
    angles = np.sort(rng.uniform(0, 2 * math.pi, count))
    far = reach * rng.uniform(0.6, 1.1, count)
    corners = np.stack([far * np.cos(angles) * 1.3, far * np.sin(angles) * 0.75], axis=1) + middle
    peak = middle + rng.uniform(-0.3, 0.3, 2) * reach
    for one, other in zip(corners, np.roll(corners, 1, axis=0), strict=True):
        _polygon(image, np.stack([one, other, peak]), colour * float(rng.uniform(0.65, 1.15)))


def _leaves(rng: np.random.Generator, image: np.ndarray, middle: np.ndarray, reach: float) -> None:
    """A plant: narrow leaves around a point."""
    green = np.array((92, 112, 66)) * rng.uniform(0.6, 1.1) + rng.uniform(-10, 10, 3)
    for angle in rng.uniform(0, 2 * math.pi, int(rng.integers(6, 16))):
        long, wide = reach * float(rng.uniform(0.6, 1.2)), reach * float(rng.uniform(0.08, 0.2))
        leaf = np.array([(0, 0), (0.4 * long, -wide), (long, 0), (0.4 * long, wide)])
        _polygon(image, _rotated(leaf, float(angle)) + middle, green * float(rng.uniform(0.7, 1.25)))


PAINTERS = (_lump, _slab, _bottle, _cable, _paper, _text, _crumpled, _leaves, _slab, _cable, _lump)


def block_sprite(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Something of this width and height that stands in front: furniture, a carton, a cushion, a curtain.

    RGBA uint8; it fills its rectangle, so that nothing behind it is seen.
    """
    width, height = size
    colour = nameless_colour(rng)
    axis_x, axis_y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    grain = 5 * fractal(rng, size, (3, 12, 40), 0.8)
    kind = int(rng.integers(4))
    if kind == 0:  # a cushion: lighter in the middle, with a pattern of its own
        grain += 26 * np.outer(1 - axis_y**2, 1 - axis_x**2) - 14
        grain += 9 * np.sign(np.sin(axis_x * rng.uniform(8, 40)))[None]
    elif kind == 1:  # a curtain: folds from top to bottom
        folds = rng.uniform(6, 22)
        grain += 22 * np.sin(axis_x * folds + 1.5 * np.sin(axis_x * 3))[None] + 8 * axis_y[:, None]
    elif kind == 2:  # a carton or cupboard: panels with dark joints and a light edge
        grain += 10 * axis_y[:, None]
        grain[:: max(9, height // int(rng.integers(2, 5)))] -= 45
        grain[:, :: max(9, width // int(rng.integers(1, 4)))] -= 35
    else:  # a back of books: upright bands of different tones
        bands = rng.uniform(-38, 30, int(rng.integers(3, 9))).astype(np.float32)
        grain += cv2.resize(bands[None], size, interpolation=cv2.INTER_NEAREST)
    image = np.clip(grain[..., None] + colour, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _paper(rng, image, np.array((width / 2, height * 0.45)), 0.28 * min(width, height))
    return np.dstack([image, np.full((height, width), 255, np.uint8)])
