"""The two images of a question: their sizes, the template crop, and the visual prompt on the search image.

Sizes follow `smart_resize` of Qwen (https://github.com/QwenLM/Qwen2.5-VL, qwen-vl-utils). The function is
written again here, because that package cannot be imported without torch.

The visual prompt follows VPTracker (https://github.com/jcwang0602/VPTracker): a rectangle around where the
target was last seen, with `prompt_scale` times the sides of its box. The template is a crop of the target
with `template_scale` times the longer side of its box.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from configs.errors import UserError
from data_prep.contract.contract import Contract
from data_prep.geometry import Box, Size, center, enlarge

ROUNDING = 1e-9  # share by which a budget of pixels is widened against errors of rounding
LONGEST = 200  # largest ratio of the sides of an image that Qwen's rule accepts


Rule = Callable[[Size, float, float, int], Size]
"""A rule like `smart_resize`, with sizes as (width, height): from a size, the fewest and the most pixels,
and the divisor of the sides to a new size.
"""


def search_size(contract: Contract, size: Size, rule: Rule | None = None) -> Size:
    """The size (width, height) that a search frame of `size` is resized to.

    A contract with a `search_size` stretches every frame to it, because a small model that was trained on one
    grid of tokens finds nothing on another. Otherwise the result is that of `budgeted`, also in its errors.
    """
    # Two zeros mean that the size follows from the budget.
    if all(contract.search_size):
        return contract.search_size
    return budgeted(size, contract.min_pixels, contract.max_pixels, contract.side_multiple, rule)


def template_size(contract: Contract, size: Size, rule: Rule | None = None) -> Size:
    """The size (width, height) that a template crop of `size` is resized to."""
    return budgeted(size, contract.template_pixels, contract.template_pixels, contract.side_multiple, rule)


def with_token_budget(contract: Contract, search_tokens: int | None, template_tokens: int | None) -> Contract:
    """A contract with other sizes of images, in language tokens; None: unchanged.

    `search_tokens` is the largest number for a search frame, `template_tokens` the number for a template.
    """
    pixels_per_token = contract.side_multiple**2
    if search_tokens is not None:
        most = search_tokens * pixels_per_token
        # `search_size` would otherwise fix the size, whatever the budget is.
        contract = replace(
            contract, max_pixels=most, min_pixels=min(contract.min_pixels, most), search_size=(0, 0)
        )
    if template_tokens is not None:
        contract = replace(contract, template_pixels=template_tokens * pixels_per_token)
    return contract


def budgeted(size: Size, min_pixels: int, max_pixels: int, multiple: int, rule: Rule | None = None) -> Size:
    """`smart_resize` with sizes as (width, height), never above `max_pixels`.

    Where no multiples of `multiple` lie within the budget (as when `min_pixels` equals `max_pixels`), the
    result is the largest size below it. `rule` is `smart_size` unless given. Raises UserError for an image
    of which one side is more than 200 times the other.
    """
    if max(size) > LONGEST * min(size):
        raise UserError(f"an image of {size[0]}x{size[1]} is too long for a Qwen-VL model; crop it")
    # The budget is widened by less than a pixel. Else some squares that fit exactly would become one token
    # smaller, by an error in the last bit of a product in `smart_resize`.
    sized, limits = rule or smart_size, (min_pixels * (1 - ROUNDING), max_pixels * (1 + ROUNDING))
    width, height = sized(size, *limits, multiple)
    if height * width > max_pixels:
        # The rule has enlarged the image beyond the budget. Of an image that is too large, it takes the
        # largest size below the budget, so apply it to a much larger image of the same shape.
        width, height = sized((max_pixels * size[0], max_pixels * size[1]), *limits, multiple)
    return max(width, multiple), max(height, multiple)


def smart_size(size: Size, min_pixels: float, max_pixels: float, multiple: int) -> Size:
    """The size, in multiples of `multiple`, that Qwen resizes an image of `size` (width, height) to."""
    width, height = size
    # 1. The nearest multiples, as long as their product lies within the budget.
    near = [max(multiple, round(side / multiple) * multiple) for side in size]
    # 2. Else scale both sides by the same factor, and round down (too large) or up (too small).
    if near[0] * near[1] > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        near = [math.floor(side / shrink / multiple) * multiple for side in size]
    elif near[0] * near[1] < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        near = [math.ceil(side * grow / multiple) * multiple for side in size]
    return near[0], near[1]


def resize(image: np.ndarray, size: Size) -> np.ndarray:
    """Resize RGB uint8 to (width, height): by area where it shrinks, against aliasing, else bicubic."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    import cv2  # imported where it is used: trackers import this module, and --help imports the trackers

    # Averaging over areas keeps thin lines when an image shrinks; bicubic is sharper when it grows.
    shrinks = image.shape[1] * image.shape[0] > size[0] * size[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


Colour = tuple[int, int, int]  # RGB, 0 to 255


def drawn_as(contract: Contract, colour: Colour | None, width: float) -> Contract:
    """A contract with another colour of the visual prompt (None: unchanged) and `width` times its
    line width.
    """
    return replace(
        contract,
        prompt_colour=colour or contract.prompt_colour,
        prompt_width=contract.prompt_width * width,
    )


def crop_template(frame: np.ndarray, box_xyxy: Box, contract: Contract) -> np.ndarray:
    """A square crop around a box in pixels of the frame, RGB uint8 (side, side, 3).

    The side is `template_scale` times the longer side of the box. What lies outside the frame is filled with
    the mean colour of the frame.
    """
    import cv2

    x, y = center(box_xyxy)
    longer = max(box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1])
    side = max(2, round(longer * contract.template_scale))
    left, top = round(x - side / 2), round(y - side / 2)
    # 1. A square in the mean colour of the frame.
    crop = np.empty((side, side, 3), np.uint8)
    crop[:] = np.round(cv2.mean(frame)[:3]).astype(np.uint8)
    height, width = frame.shape[:2]
    # 2. The part of the square that lies inside the frame is copied into it.
    x0, x1 = max(left, 0), min(left + side, width)
    y0, y1 = max(top, 0), min(top + side, height)
    if x0 < x1 and y0 < y1:
        crop[y0 - top : y1 - top, x0 - left : x1 - left] = frame[y0:y1, x0:x1]
    return crop


def visual_prompt_box(box_xyxy: Box, size: tuple[int, int], contract: Contract) -> Box:
    """The visual prompt around where the target was last seen, in pixels of a frame of `size`."""
    return enlarge(box_xyxy, contract.prompt_scale, size)


def draw_visual_prompt(image: np.ndarray, box_xyxy: Box, contract: Contract) -> np.ndarray:
    """A copy of an image, RGB uint8, with the visual prompt drawn; the box is in pixels of this image."""
    import cv2

    drawn = image.copy()
    # The width of the line is relative to the image, so that it looks the same in every resolution.
    line = max(1, round(max(image.shape[:2]) * contract.prompt_width))
    left, top, right, bottom = (round(value) for value in box_xyxy)
    # A corner on the right or bottom border would be drawn outside of the image.
    limits = image.shape[1] - 1, image.shape[0] - 1
    corners = (left, top), (min(right, limits[0]), min(bottom, limits[1]))
    cv2.rectangle(drawn, *corners, contract.prompt_colour, line)
    return drawn
