"""Windows of crops: random parts of a frame around an object, as a second look at a small target sees it."""

import math
from dataclasses import dataclass

import numpy as np

from data_prep.contract.windows import PixelRegion, window_at
from data_prep.geometry import Box, Size, center


@dataclass(frozen=True)
class CropRule:
    """How windows around a box are drawn."""

    scales: tuple[float, float]  # smallest and largest side, in sides of the box; drawn log-uniformly
    smallest: float  # smallest side, as a share of the largest window in the frame
    shift: float  # standard deviation of the box's place, as a share of the window


def largest_width(frame_size: Size, aspect: float) -> float:
    """The width of the largest window with that aspect (width over height) in a frame."""
    return min(frame_size[0], frame_size[1] * aspect)


def window_around(
    rng: np.random.Generator, box_xyxy: Box, frame_size: Size, aspect: float, rule: CropRule
) -> PixelRegion:
    """A random window around a box, within the frame."""
    left, top, right, bottom = box_xyxy
    scale = math.exp(rng.uniform(*np.log(rule.scales)))
    largest = largest_width(frame_size, aspect)
    wide = max((right - left) * scale, (bottom - top) * scale * aspect, rule.smallest * largest)
    wide = min(wide, largest)
    x, y = (
        place + rng.normal(0, rule.shift) * side
        for place, side in zip(center(box_xyxy), (wide, wide / aspect), strict=True)
    )
    return window_at((x, y), window_size(wide, aspect), frame_size)


def window_size(wide: float, aspect: float) -> Size:
    """The size (width, height) of a window in whole pixels."""
    return max(2, round(wide)), max(2, round(wide / aspect))
