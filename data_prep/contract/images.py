"""The two images of a question: their sizes, the template and search crops, and the visual prompt.

Sizes follow `smart_resize` of Qwen (https://github.com/QwenLM/Qwen2.5-VL, qwen-vl-utils). The function is
written again here, because that package cannot be imported without torch.

The visual prompt follows VPTracker (https://github.com/jcwang0602/VPTracker): a rectangle around where the
target was last seen, with `prompt_scale` times the sides of its box. Crops around a box are in
data_prep/contract/crops.py.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from configs.errors import UserError
from data_prep.contract.contract import Contract
from data_prep.geometry import Box, Size, enlarge, iou, rescale

ROUNDING = 1e-9  # share by which a budget of pixels is widened against errors of rounding
ALIKE = 0.5  # IoU from which the last box and its visual prompt are the same place
ROUNDED_BY = 0.001  # share of the longer side of a frame by which rounding moves a corner
LONGEST = 200  # largest ratio of the sides of an image that Qwen's rule accepts


Rule = Callable[[Size, float, float, int], Size]
"""A rule like `smart_resize`, with sizes as (width, height): from a size, the fewest and the most pixels,
and the divisor of the sides to a new size.
"""


def search_size(contract: Contract, size: Size, rule: Rule | None = None) -> Size:
    """The size (width, height) that a search frame of `size` is resized to.

    A contract with fixed sizes stretches every frame to the one whose aspect is nearest to the frame's,
    because a small model finds nothing on a grid of tokens that it was not trained on. Otherwise the result
    is that of `budgeted`, also in its errors.
    """
    if contract.search_sizes:
        # By the factor of the stretching, so 2:1 and 1:2 are equally far from a square.
        aspect = math.log(size[0] / size[1])
        return min(contract.search_sizes, key=lambda fixed: abs(math.log(fixed[0] / fixed[1]) - aspect))
    return budgeted(size, contract.min_pixels, contract.max_pixels, contract.side_multiple, rule)


def template_size(contract: Contract, size: Size, rule: Rule | None = None) -> Size:
    """The size (width, height) that a template crop of `size` is resized to."""
    if all(contract.crop_size):
        return contract.crop_size
    least = contract.template_min_pixels or contract.template_pixels
    return budgeted(size, least, contract.template_pixels, contract.side_multiple, rule)


def resized_template(contract: Contract, template: np.ndarray, rule: Rule | None = None) -> np.ndarray:
    """A template crop, RGB uint8, resized to its `template_size`."""
    # Crops of one size are those of pytracking.
    resampling = "linear" if all(contract.crop_size) else contract.resampling
    return resize(template, template_size(contract, (template.shape[1], template.shape[0]), rule), resampling)


def with_token_budget(contract: Contract, search_tokens: int | None, template_tokens: int | None) -> Contract:
    """A contract with other sizes of images, in language tokens; None: unchanged.

    `search_tokens` is the largest number for a search frame, `template_tokens` the number for a template.
    """
    pixels_per_token = contract.side_multiple**2
    if search_tokens is not None:
        most = search_tokens * pixels_per_token
        # `search_size` would otherwise fix the size, whatever the budget is.
        contract = replace(
            contract,
            max_pixels=most,
            min_pixels=min(contract.min_pixels, most),
            search_size=(0, 0),
            other_search_sizes=(),
        )
    if template_tokens is not None:
        most = template_tokens * pixels_per_token
        least = min(contract.template_min_pixels, most)
        contract = replace(contract, template_pixels=most, template_min_pixels=least)
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


def resize(image: np.ndarray, size: Size, resampling: str = "area") -> np.ndarray:
    """Resize RGB uint8 to (width, height).

    `area` averages over areas where an image shrinks, against aliasing, and is bicubic where it grows.
    `bicubic` is Pillow's filter, which widens with the factor of shrinking; qwen-vl-utils resizes with it.
    `linear` is OpenCV's bilinear filter, with which pytracking resizes its crops.
    """
    if (image.shape[1], image.shape[0]) == size:
        return image
    if resampling == "bicubic":
        from PIL import Image

        return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    import cv2  # imported where it is used: trackers import this module, and --help imports the trackers

    if resampling == "linear":
        return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    # Averaging over areas keeps thin lines when an image shrinks; bicubic is sharper when it grows.
    shrinks = image.shape[1] * image.shape[0] > size[0] * size[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


Colour = tuple[int, int, int]  # RGB, 0 to 255


@lru_cache
def colour_name(colour: Colour) -> str:
    """The name of a colour in HTML, such as `red`; `#rrggbb` for a colour without a name."""
    from PIL import ImageColor

    names = (name for name in ImageColor.colormap if ImageColor.getrgb(name)[:3] == colour)
    return next(names, "#{:02x}{:02x}{:02x}".format(*colour))


def drawn_as(contract: Contract, colour: Colour | None, width: float) -> Contract:
    """A contract with another colour of the visual prompt (None: unchanged) and `width` times its
    line width.
    """
    line = contract.prompt_line and max(1, round(contract.prompt_line * width))
    return replace(
        contract,
        prompt_colour=colour or contract.prompt_colour,
        prompt_width=contract.prompt_width * width,
        prompt_line=line,
    )


def visual_prompt_box(box_xyxy: Box, size: tuple[int, int], contract: Contract) -> Box:
    """The visual prompt around where the target was last seen, in pixels of a frame of `size`."""
    return enlarge(box_xyxy, contract.prompt_scale, size)


def search_image(
    frame: np.ndarray, rectangle_xyxy: Box | None, contract: Contract, resized: Size
) -> np.ndarray:
    """A search frame, RGB uint8, resized to `resized`, with the rectangle of the visual prompt if there is
    one.

    The rectangle is in pixels of the frame. Contracts with a `prompt_line` draw it before resizing, others
    after it, so that the line is equally wide in every image.
    """
    if rectangle_xyxy is None:
        return resize(frame, resized, contract.resampling)
    if contract.prompt_line:
        return resize(_draw_line(frame, rectangle_xyxy, contract), resized, contract.resampling)
    size = (frame.shape[1], frame.shape[0])
    image = resize(frame, resized, contract.resampling)
    return draw_visual_prompt(image, rescale(rectangle_xyxy, size, resized), contract)


def _draw_line(frame: np.ndarray, rectangle_xyxy: Box, contract: Contract) -> np.ndarray:
    """A copy of a frame with a rectangle as VPTracker's `_draw_bbox` draws it: a line of whole pixels, inside
    of corners whose decimals are cut off.
    """
    from PIL import Image, ImageDraw

    # Pillow takes the right and bottom corners as inclusive, and clips what lies outside of the image.
    left, top, right, bottom = (int(value) for value in rectangle_xyxy)
    image = Image.fromarray(frame)  # a copy
    outline = contract.prompt_colour
    ImageDraw.Draw(image).rectangle((left, top, right, bottom), outline=outline, width=contract.prompt_line)
    return np.array(image)


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


def repeats_visual_prompt(box_xyxy: Box, last_box: Box | None, size: Size, contract: Contract) -> bool:
    """Whether a box is no more than the visual prompt that was drawn around the last box.

    Both boxes are in pixels of a frame of `size`; without a last box nothing was drawn. A target that fills
    the frame has a visual prompt of its own size, so an equal box is right then.
    """
    if last_box is None:
        return False
    rectangle = visual_prompt_box(last_box, size, contract)
    if iou(last_box, rectangle) > ALIKE:
        return False
    # A model answers with the inner or the outer side of the line, in rounded numbers.
    width = contract.prompt_line or contract.prompt_width * max(size)
    corners = zip(box_xyxy, rectangle, strict=True)
    return all(abs(first - second) <= width + ROUNDED_BY * max(size) for first, second in corners)
