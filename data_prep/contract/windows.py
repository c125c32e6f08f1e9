"""Regions of a frame that are searched in place of the whole frame, at the frame's own resolution.

A search image has a fixed number of pixels, so a part of a frame shows its targets larger than the whole
frame does. Local trackers search such a window around the last box (SiamFC, arXiv 1606.09549); looking again
at a part of an image helps multimodal LLMs to see small things (V*, arXiv 2312.14135).
"""

import math

from data_prep.contract.contract import Contract
from data_prep.contract.images import search_size
from data_prep.geometry import Box, Size, center, clamp, is_inside

# The narrowest window, as a share of the width of the search image: smaller ones would be enlarged to more
# than four times their pixels to each side, which shows nothing more.
SMALLEST_WIDTH = 0.25
# The largest window, as a share of the frame's area: larger ones hardly show more than the whole frame.
LARGEST_AREA = 0.5
# Sides of a region have at least so many pixels, and at least this share of the other side. The rules of
# resizing refuse very narrow images.
SMALLEST_SIDE, SMALLEST_RATIO = 16, 0.125

PixelRegion = tuple[int, int, int, int]
"""Left, top, right and bottom of a region in whole pixels of the frame; right and bottom are exclusive."""


def search_window(box_xyxy: Box, frame_size: Size, contract: Contract, scale: float) -> Box | None:
    """The window around a box of a frame of `frame_size` (width, height) in which it is searched.

    It has the aspect ratio of the search image, so nothing is stretched, and holds `scale` times the sides of
    the box. Its middle is that of the box, unless the window would leave the frame: then it is moved inside.
    None where such a window would not fit into the frame, or would be a large part of it.
    """
    (width, height), resized = frame_size, search_size(contract, frame_size)
    aspect = resized[0] / resized[1]
    # 1. The size, in whole pixels.
    sides = box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]
    needed = scale * max(sides[0], sides[1] * aspect)
    window_width = round(max(needed, SMALLEST_WIDTH * resized[0]))
    window_height = round(window_width / aspect)
    if window_width > width or window_height > height:
        return None
    if window_width * window_height > LARGEST_AREA * width * height:
        return None
    # 2. The place.
    left, top, right, bottom = window_at(center(box_xyxy), (window_width, window_height), frame_size)
    return float(left), float(top), float(right), float(bottom)


def window_at(middle: tuple[float, float], window_size: Size, frame_size: Size) -> PixelRegion:
    """The window of a size around a point (x, y), moved into the frame where it would leave it."""
    left, top = (
        min(max(0, round(place - side / 2)), limit - side)
        for place, side, limit in zip(middle, window_size, frame_size, strict=True)
    )
    return left, top, left + window_size[0], top + window_size[1]


def pixel_region(region_xyxy: Box, frame_size: Size) -> PixelRegion:
    """The whole pixels of a region inside a frame of `frame_size` (width, height).

    A very small or narrow region is enlarged. Of a region outside of the frame nothing could be searched, so
    the result is the whole frame then.
    """
    width, height = frame_size
    if not is_inside(region_xyxy, frame_size):
        return 0, 0, width, height
    left, top, right, bottom = clamp(region_xyxy, frame_size)
    longer = max(right - left, bottom - top)
    least = max(SMALLEST_SIDE, math.ceil(longer * SMALLEST_RATIO))
    (left, right), (top, bottom) = _side(left, right, least, width), _side(top, bottom, least, height)
    return int(left), int(top), int(right), int(bottom)


def _side(start: float, stop: float, least: int, limit: int) -> tuple[int, int]:
    """A side of a region in whole pixels, from 0 to `limit`, with `least` pixels if there are as many."""
    first, last = math.floor(start), math.ceil(stop)
    if (missing := min(least, limit) - (last - first)) > 0:
        first = min(max(0, first - missing // 2), limit - min(least, limit))
        last = first + min(least, limit)
    return first, last
