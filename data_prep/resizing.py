"""The sizes that images are given before a Qwen-VL model sees them, and the resize itself.

The rule is `smart_resize` of Qwen (https://github.com/QwenLM/Qwen2.5-VL, qwen-vl-utils), whose package
cannot be imported without torch.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from configs.errors import UserError
from data_prep.geometry import Size
from data_prep.prompts import Contract

ROUNDING = 1e-9  # share of a pixel budget that rounding may cost
LONGEST = 200  # sides of an image, longer over shorter, that Qwen's rule takes


Rule = Callable[[Size, float, float, int], Size]
"""`smart_resize`, with sizes as (width, height): of a size, fewest and most pixels, and a side's divisor."""


def search_size(contract: Contract, size: Size, rule: Rule | None = None) -> Size:
    """The size (width, height) that a search frame of `size` is resized to.

    A contract with a `search_size` stretches every frame to it: a small model that was trained on one grid
    of tokens finds nothing on another. Otherwise as `budgeted`, which see for errors.
    """
    if all(contract.search_size):
        return contract.search_size
    return budgeted(size, contract.min_pixels, contract.max_pixels, contract.side_multiple, rule)


def template_size(contract: Contract, size: Size, rule: Rule | None = None) -> Size:
    """The size (width, height) that a template crop of `size` is resized to."""
    return budgeted(size, contract.template_pixels, contract.template_pixels, contract.side_multiple, rule)


def budgeted(size: Size, min_pixels: int, max_pixels: int, multiple: int, rule: Rule | None = None) -> Size:
    """`smart_resize` with sizes as (width, height), never above `max_pixels`.

    Where no multiples of `multiple` keep within the budget (`min_pixels` as large as `max_pixels`), the size
    is the largest below it. The budget is widened by less than a pixel, since `smart_resize` else loses a
    token to the last bit of a product: some squares that fit exactly came out one token smaller. `rule` is
    `smart_size` unless given. Raises UserError for an image of which one side is more than 200 times the
    other.
    """
    if max(size) > LONGEST * min(size):
        raise UserError(f"an image of {size[0]}x{size[1]} is too long for a Qwen-VL model; crop it")
    sized, limits = rule or smart_size, (min_pixels * (1 - ROUNDING), max_pixels * (1 + ROUNDING))
    width, height = sized(size, *limits, multiple)
    if height * width > max_pixels:  # enlarged past the budget: shrink a larger copy of the picture instead
        width, height = sized((max_pixels * size[0], max_pixels * size[1]), *limits, multiple)
    return max(width, multiple), max(height, multiple)


def smart_size(size: Size, min_pixels: float, max_pixels: float, multiple: int) -> Size:
    """The multiples of `multiple` that Qwen resizes an image of `size` (width, height) to."""
    width, height = size
    near = [max(multiple, round(side / multiple) * multiple) for side in size]
    if near[0] * near[1] > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        near = [math.floor(side / shrink / multiple) * multiple for side in size]
    elif near[0] * near[1] < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        near = [math.ceil(side * grow / multiple) * multiple for side in size]
    return near[0], near[1]


def resize(image: np.ndarray, size: Size) -> np.ndarray:
    """Resize RGB uint8 to (width, height): by area when it shrinks (no aliasing), else bicubic."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    shrinks = image.shape[1] * image.shape[0] > size[0] * size[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
