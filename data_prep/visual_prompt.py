"""The visual prompt: the template crop, and the rectangle drawn on the search frame.

After VPTracker: a crop of the target at `template_scale` times its box, and a rectangle around
where it was last seen at `prompt_scale` times its box, both given to the LLM beside the words.
"""

from dataclasses import replace

import cv2
import numpy as np

from data_prep.geometry import Box, center, enlarge
from data_prep.prompts import Contract

Colour = tuple[int, int, int]  # RGB, 0 to 255


def drawn_as(contract: Contract, colour: Colour | None, width: float) -> Contract:
    """A contract whose rectangle has another colour (None: its own) and `width` times its line."""
    return replace(
        contract,
        prompt_colour=colour or contract.prompt_colour,
        prompt_width=contract.prompt_width * width,
    )


def crop_template(frame: np.ndarray, box_xyxy: Box, contract: Contract) -> np.ndarray:
    """A square crop around a box in pixels of the frame, RGB uint8 (side, side, 3).

    The side is `template_scale` times the box's longer side; what lies outside the frame is the
    frame's mean colour.
    """
    x, y = center(box_xyxy)
    longer = max(box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1])
    side = max(2, round(longer * contract.template_scale))
    left, top = round(x - side / 2), round(y - side / 2)
    crop = np.empty((side, side, 3), np.uint8)
    crop[:] = np.round(cv2.mean(frame)[:3]).astype(np.uint8)
    height, width = frame.shape[:2]
    x0, x1 = max(left, 0), min(left + side, width)
    y0, y1 = max(top, 0), min(top + side, height)
    if x0 < x1 and y0 < y1:
        crop[y0 - top : y1 - top, x0 - left : x1 - left] = frame[y0:y1, x0:x1]
    return crop


def visual_prompt_box(box_xyxy: Box, size: tuple[int, int], contract: Contract) -> Box:
    """The rectangle to draw around where the target was last seen, in pixels of a frame of `size`."""
    return enlarge(box_xyxy, contract.prompt_scale, size)


def draw_visual_prompt(image: np.ndarray, box_xyxy: Box, contract: Contract) -> np.ndarray:
    """A copy of an image, RGB uint8, with a rectangle drawn; the box is in pixels of this image."""
    drawn = image.copy()
    line = max(1, round(max(image.shape[:2]) * contract.prompt_width))
    left, top, right, bottom = (round(value) for value in box_xyxy)
    limits = image.shape[1] - 1, image.shape[0] - 1
    corners = (left, top), (min(right, limits[0]), min(bottom, limits[1]))
    cv2.rectangle(drawn, *corners, contract.prompt_colour, line)
    return drawn
