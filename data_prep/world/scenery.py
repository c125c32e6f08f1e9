"""Backgrounds of the footage look: rooms, tables, tiles, cloth, foliage, streets, stone; and their light.

They are painted at half the size, from noise with structure at long and at short range.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from data_prep.geometry import Size
from data_prep.world.clutter import nameless_colour
from data_prep.world.textures import coloured, fractal, muted, noise


def lit(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The image, float32 RGB, in a random light: brightness, contrast, a slope, patches from a window."""
    height, width = image.shape[:2]
    # 1. Brightness and contrast of the whole.
    grey = float(image.mean())
    level, contrast = float(rng.uniform(45, 212)), float(rng.uniform(0.6, 1.25))
    image = (image - grey) * (contrast * min(1.3, 0.5 + level / 150)) + level
    # 2. Light falls off in one direction, and varies softly; a factor at a coarse size.
    small = (max(2, width // 8), max(2, height // 8))
    slope = np.add.outer(
        np.linspace(-1, 1, small[1], dtype=np.float32) * rng.uniform(-0.35, 0.35),
        np.linspace(-1, 1, small[0], dtype=np.float32) * rng.uniform(-0.35, 0.35),
    )
    factor = 1 + slope + 0.07 * noise(rng, small, 3)
    # 3. Sometimes the bright shape of a window, with bars, on the ground or on the wall.
    if rng.random() < 0.3:
        factor *= _window_light(rng, small)
    factor = cv2.resize(factor, (width, height), interpolation=cv2.INTER_CUBIC)
    return image * np.clip(factor, 0.25, 2.2)[..., None]


def _window_light(rng: np.random.Generator, size: Size) -> np.ndarray:
    """A factor, float32 (height, width): brighter panes, the rest in the shade."""
    width, height = size
    panes = np.zeros((height, width), np.uint8)
    left, top = rng.uniform(0, 0.7) * width, rng.uniform(0, 0.6) * height
    across, down, slant = (
        rng.uniform(0.12, 0.3) * width,
        rng.uniform(0.2, 0.5) * height,
        rng.uniform(-0.6, 0.6),
    )
    for number in range(int(rng.integers(1, 4))):
        x = left + 1.15 * across * number
        corners = np.array(
            [
                (x, top),
                (x + across, top),
                (x + across + slant * down, top + down),
                (x + slant * down, top + down),
            ]
        )
        cv2.fillPoly(panes, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(panes, (0, 0), float(rng.uniform(0.6, 1.6))).astype(np.float32) / 255
    return np.float32(0.85) + soft * np.float32(rng.uniform(0.3, 0.7))


def _shade(rng: np.random.Generator) -> np.ndarray:
    """The colour of a surface: often near grey, sometimes of a nameless hue, float32 (3,)."""
    return muted(rng, 60, 200, 16) if rng.random() < 0.55 else nameless_colour(rng)


def _in_perspective(rng: np.random.Generator, flat: np.ndarray, size: Size) -> np.ndarray:
    """A flat square surface as a camera sees it: from above, turned, or at a slant."""
    width, height = size
    side = flat.shape[0]
    # Corners of the surface in the image. The far edge is narrower than the near one.
    narrow, turn = float(rng.uniform(0, 0.3)), float(rng.uniform(-0.6, 0.6))
    corners = np.array([(-1 + narrow, -1), (1 - narrow, -1), (1 + narrow, 1), (-1 - narrow, 1)])
    cos, sin = math.cos(turn), math.sin(turn)
    reach = float(rng.uniform(0.95, 1.4)) * width * 0.85
    corners = corners @ np.array([[cos, sin], [-sin, cos]]) * reach + (width / 2, height / 2)
    source = np.array([(0, 0), (side, 0), (side, side), (0, side)], np.float32)
    matrix = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    return cv2.warpPerspective(flat, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _boards(rng: np.random.Generator, side: int) -> np.ndarray:
    """Boards with grain, float32 (side, side), around 0."""
    rows = int(rng.integers(4, 13))
    height = side // rows
    # Grain: noise that is long in one direction, different on each board.
    grain = cv2.resize(
        rng.standard_normal((side // 2, 10), np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    surface = float(rng.uniform(4, 11)) * grain + 5 * noise(rng, (side, side), 9)
    surface += np.repeat(rng.uniform(-16, 16, rows + 1), height + 1)[:side, None].astype(np.float32)
    joint = float(rng.uniform(10, 55))
    for row in range(rows):
        surface[row * height : row * height + 2] -= joint
        end = int(rng.integers(side))
        surface[row * height : (row + 1) * height, end : end + 2] -= joint
    return surface


def _tiles(rng: np.random.Generator, side: int) -> np.ndarray:
    """Tiles or a ruled mat: cells with lines between them, float32 (side, side), around 0."""
    cells = int(rng.choice((4, 7, 12, 20)))
    step = side // cells
    shades = rng.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32) * rng.uniform(0, 14)
    if rng.random() < 0.25:  # a chessboard
        shades += np.indices(shades.shape).sum(axis=0) % 2 * float(rng.uniform(20, 70))
    surface = np.kron(shades, np.ones((step, step), np.float32))[:side, :side]
    surface = cv2.resize(surface, (side, side), interpolation=cv2.INTER_NEAREST) + 4 * noise(
        rng, (side, side), 40
    )
    line, wide = float(rng.choice((-1, 1))) * float(rng.uniform(20, 90)), int(rng.integers(1, 4))
    for place in range(0, side, step):
        surface[place : place + wide] += line
        surface[:, place : place + wide] += line
    return surface


def _ground(rng: np.random.Generator, size: Size) -> np.ndarray:
    """A table top or a floor that fills the image."""
    side = 256
    flat = (_boards if rng.random() < 0.5 else _tiles)(rng, side)
    colour = _shade(rng)
    if rng.random() < 0.4:  # wood
        colour = np.array((168, 126, 88), np.float32) * float(rng.uniform(0.5, 1.25))
    return coloured(_in_perspective(rng, flat, size) + 4 * fractal(rng, size, (3, 50)), colour)


def _interior(rng: np.random.Generator, size: Size) -> np.ndarray:
    """A wall with a window, a shelf and a skirting board; a floor; furniture on it."""
    width, height = size
    edge = int(height * rng.uniform(0.45, 0.85))
    # 1. The wall, often with paper of upright stripes.
    image = coloured(4 * fractal(rng, size, (2, 5, 60)), _shade(rng))
    if rng.random() < 0.35:
        wave = np.sin(np.arange(width) * float(rng.uniform(0.15, 0.7)) + 1)
        image += (float(rng.uniform(4, 14)) * np.sign(wave))[None, :, None]
    # 2. A window: bright, with a frame, sometimes a curtain beside it.
    if rng.random() < 0.45:
        left, top = int(rng.integers(-40, width)), int(rng.integers(-40, edge // 2))
        wide, high = int(rng.integers(40, 120)), int(rng.integers(50, 130))
        sky = np.array((228, 232, 236)) * rng.uniform(0.8, 1.0)
        cv2.rectangle(image, (left, top), (left + wide, min(edge - 6, top + high)), sky.tolist(), -1)
        frame = (np.array((200, 196, 190)) * rng.uniform(0.5, 1.0)).tolist()
        for x in (left, left + wide // 2, left + wide):
            cv2.line(image, (x, top), (x, min(edge - 6, top + high)), frame, 2)
        cv2.line(image, (left, top + high // 2), (left + wide, top + high // 2), frame, 2)
        cloth, begin = nameless_colour(rng), max(0, left - 24)
        folds = 16 * np.sin(np.arange(begin, max(begin + 1, left + 6)) * float(rng.uniform(0.4, 1.2)))
        part = image[:edge, begin : max(begin + 1, left + 6)]
        part[:] = cloth + folds[None, : part.shape[1], None]
    # 3. Shelves and pictures.
    for _ in range(int(rng.integers(0, 5))):
        x, y = int(rng.integers(-20, width)), int(rng.integers(5, max(6, edge - 10)))
        wide, high = int(rng.integers(14, 70)), int(rng.integers(2, 34))
        colour = _shade(rng)
        cv2.rectangle(image, (x, y), (x + wide, y + high), colour.tolist(), -1)
        cv2.line(image, (x, y + high + 1), (x + wide, y + high + 1), (colour * 0.55).tolist(), 2)
    # 4. The floor, in perspective, and the skirting board along its edge.
    floor = _in_perspective(rng, _boards(rng, 192), (width, max(2, height - edge)))
    image[edge:] = coloured(floor, _shade(rng))
    board = (_shade(rng) * 0.5 + 90).tolist()
    cv2.rectangle(image, (0, edge - int(rng.integers(2, 7))), (width, edge), board, -1)
    cv2.line(image, (0, edge + 1), (width, edge + 1), (60.0, 56.0, 52.0), 1)
    # 5. Furniture: blocks with a lit top, a front and doors.
    for _ in range(int(rng.integers(0, 4))):
        x, wide = int(rng.integers(-30, width)), int(rng.integers(25, 110))
        foot, high = edge + int(rng.integers(2, 40)), int(rng.integers(20, 90))
        colour, lid = _shade(rng), int(rng.integers(3, 12))
        cv2.rectangle(image, (x, foot - high), (x + wide, foot), (colour * 0.75).tolist(), -1)
        cv2.rectangle(image, (x, foot - high - lid), (x + wide, foot - high), (colour * 1.1).tolist(), -1)
        for drawer in range(1, int(rng.integers(1, 5))):
            y = foot - high + drawer * high // 4
            cv2.line(image, (x + 2, y), (x + wide - 2, y), (colour * 0.5).tolist(), 1)
    return image


def _cloth(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Bedding or a carpet with folds: stripes or checks that the folds displace."""
    width, height = size
    # Ridges of warped noise look like folds.
    hills = noise(rng, size, int(rng.integers(2, 5))) + 0.5 * noise(rng, size, 8)
    folds = 1 - 2 * np.abs(np.sin(float(rng.uniform(1, 2.5)) * hills))
    light = float(rng.uniform(6, 26)) * folds + 4 * noise(rng, size, 70, 1.0)
    image = coloured(light, _shade(rng))
    if rng.random() < 0.7:
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        turn, step = float(rng.uniform(0, math.pi)), float(rng.uniform(5, 26))
        shift = float(rng.uniform(2, 8)) * hills
        thin, depth = float(rng.uniform(-0.9, 0.6)), float(rng.uniform(-70, 70))
        wave = np.sin(((x * math.cos(turn) + y * math.sin(turn)) + shift) * (2 * math.pi / step))
        image += (np.clip((wave + thin) * 3, 0, 1) * depth)[..., None]
        if rng.random() < 0.35:  # checks
            wave = np.sin(((y * math.cos(turn) - x * math.sin(turn)) + shift) * (2 * math.pi / step))
            image += (np.clip((wave + thin) * 3, 0, 1) * depth)[..., None]
    return image


def _foliage(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Grass, hedges or fallen leaves: many small leaves in the tones of a few plants."""
    width, height = size
    tones = np.array([(86, 100, 66), (110, 116, 78), (62, 74, 54), (130, 116, 84)], np.float32)
    base = tones[int(rng.integers(len(tones)))] * float(rng.uniform(0.7, 1.2))
    image = coloured(16 * fractal(rng, size, (3, 8, 20), 0.8), base)
    long, upright = float(rng.uniform(3, 11)), rng.random() < 0.4
    count = int(rng.integers(250, 600))
    places = rng.uniform((0, 0), (width, height), (count, 2))
    angles = rng.normal(-math.pi / 2, 0.3, count) if upright else rng.uniform(0, 2 * math.pi, count)
    lengths = long * rng.uniform(0.5, 1.6, count)
    ends = places + np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]
    shades = base * rng.uniform(0.55, 1.5, (count, 1)) + rng.uniform(-10, 10, (count, 3))
    wide = rng.integers(1, 4, count)
    segments = np.round(np.stack([places, ends], axis=1)).astype(int).tolist()
    for (a, b), shade, thick in zip(segments, shades.tolist(), wide.tolist(), strict=True):
        cv2.line(image, a, b, shade, thick)
    return image


def _street(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Fronts of houses with rows of windows, a sky above and a road in front."""
    width, height = size
    image = coloured(8 * fractal(rng, size, (2, 5)), np.array((176, 190, 204)) * rng.uniform(0.8, 1.15))
    foot, x = int(height * rng.uniform(0.5, 0.8)), -int(rng.integers(0, 40))
    while x < width:
        wide, top = int(rng.integers(30, 110)), int(foot * rng.uniform(0.0, 0.6))
        wall, glass = _shade(rng), muted(rng, 40, 130, 12)
        cv2.rectangle(image, (x, top), (x + wide, foot), wall.tolist(), -1)
        step_x, step_y = int(rng.integers(9, 24)), int(rng.integers(12, 28))
        for left in range(x + 4, x + wide - step_x // 2, step_x):
            for upper in range(top + 5, foot - step_y // 2, step_y):
                corner = (left + step_x // 2, upper + step_y // 2)
                cv2.rectangle(image, (left, upper), corner, (glass * rng.uniform(0.7, 1.3)).tolist(), -1)
        x += wide
    image += 4 * noise(rng, size, 70)[..., None]
    # The road, with a kerb and a line along it.
    image[foot:] = coloured(5 * fractal(rng, (width, height - foot), (2, 40)), muted(rng, 80, 130, 6))
    cv2.rectangle(image, (0, foot), (width, foot + 4), (150.0, 148.0, 144.0), -1)
    line = foot + (height - foot) // 2
    cv2.line(image, (0, line), (width, line + int(rng.integers(-12, 12))), (196.0, 194.0, 186.0), 2)
    return image


def _stone(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Marble, plaster, sand or a carpet: noise that is bent by other noise, with veins or specks."""
    hills = fractal(rng, size, (2, 4, 9, 20), 0.55)
    veins = np.abs(np.sin(float(rng.uniform(0.8, 2.5)) * hills + 0.6 * noise(rng, size, 14)))
    light = float(rng.uniform(-30, 30)) * veins + float(rng.uniform(2, 14)) * noise(rng, size, 120, 1.0)
    image = coloured(light + 8 * noise(rng, size, 3), _shade(rng))
    return image + (10 * noise(rng, size, 5))[..., None] * rng.uniform(-0.6, 0.6, 3).astype(np.float32)


SCENERY: tuple[Callable[[np.random.Generator, Size], np.ndarray], ...] = (
    _ground,
    _ground,
    _interior,
    _interior,
    _cloth,
    _foliage,
    _street,
    _stone,
)
