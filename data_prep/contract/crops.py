"""Square crops around a box: the template, and the search crop of R1-Track.

With `template_crop: longer`, this project's own, the side is a multiple of the longer side of the box, and
what lies outside the frame has its mean colour. The rules `area` and `area_cut` are those of pytracking's
`sample_target`, as https://github.com/Wangbiao2/R1-Track (infer_script/crop_image.py) and
https://github.com/jcwang0602/VPTracker (ms-swift/swift/llm/template/base.py) use it. The side is a multiple
of the root of the box's area, and outside the frame there is black, or the crop ends at the border. That
function counts one column and one row too many as outside, so the last ones of the frame are never part of a
crop that reaches them.
"""

import math
from dataclasses import dataclass

import numpy as np

from data_prep.contract.contract import Contract
from data_prep.contract.images import resize
from data_prep.geometry import Box, Size, center, clamp, rescale


@dataclass(frozen=True)
class Square:
    """A square in pixels of a frame; it may reach beyond the frame."""

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, box_xyxy: Box, scale: float) -> "Square":
        """The square around a box, with `scale` times the root of its area as side (`sample_target`)."""
        width, height = max(0.0, box_xyxy[2] - box_xyxy[0]), max(0.0, box_xyxy[3] - box_xyxy[1])
        side = max(1, math.ceil(math.sqrt(width * height) * scale))
        left, top = (
            round(start + 0.5 * length - side * 0.5)
            for start, length in ((box_xyxy[0], width), (box_xyxy[1], height))
        )
        return cls(left, top, side)

    def to_frame(self, box_xyxy: Box, size: Size) -> Box:
        """A box in pixels of the crop, resized to `size`, as one in pixels of the frame.

        The box is first clipped to the crop.
        """
        left, top, right, bottom = rescale(clamp(box_xyxy, size), size, (self.side, self.side))
        return left + self.left, top + self.top, right + self.left, bottom + self.top

    def from_frame(self, box_xyxy: Box, size: Size) -> Box:
        """A box in pixels of the frame as one in pixels of the crop, resized to `size`; it is not clipped."""
        left, top, right, bottom = box_xyxy
        in_crop = (left - self.left, top - self.top, right - self.left, bottom - self.top)
        return rescale(in_crop, (self.side, self.side), size)


def crop_template(frame: np.ndarray, box_xyxy: Box, contract: Contract) -> np.ndarray:
    """A crop around a box in pixels of the frame, RGB uint8, by the rule `template_crop` of the contract."""
    if contract.template_crop == "longer":
        return _crop_longer(frame, box_xyxy, contract)
    square = Square.around(box_xyxy, contract.template_scale)
    return _crop_square(frame, square, is_padded=contract.template_crop == "area")


def template_box(box_xyxy: Box, contract: Contract) -> Box:
    """A box in pixels of the frame as one in pixels of the crop that `crop_template` cuts around it."""
    if contract.template_crop == "longer":
        left, top, _ = _longer_square(box_xyxy, contract)
    else:
        square = Square.around(box_xyxy, contract.template_scale)
        left, top = square.left, square.top
        if contract.template_crop == "area_cut":
            left, top = max(left, 0), max(top, 0)
    return box_xyxy[0] - left, box_xyxy[1] - top, box_xyxy[2] - left, box_xyxy[3] - top


def central_box(size: Size, contract: Contract) -> Box:
    """Where a target of unknown shape lies in a template of `size`: a square in its middle."""
    (width, height), share = size, (1 - 1 / contract.template_scale) / 2
    return width * share, height * share, width * (1 - share), height * (1 - share)


def resized_box(box_xyxy: Box, size: Size, resized: Size) -> Box:
    """A box of a crop of `size` after resizing, with the roundings of `sample_target`.

    It scales the corner and the sides, not both corners. That matters where decimals are cut off later.
    """
    x_ratio, y_ratio = resized[0] / size[0], resized[1] / size[1]
    left, top = box_xyxy[0] * x_ratio, box_xyxy[1] * y_ratio
    width, height = (box_xyxy[2] - box_xyxy[0]) * x_ratio, (box_xyxy[3] - box_xyxy[1]) * y_ratio
    return left, top, left + width, top + height


def search_crop(frame: np.ndarray, box_xyxy: Box, contract: Contract) -> np.ndarray:
    """The search crop around the last box (pixels of the frame), resized to `crop_size`."""
    crop = _crop_square(frame, Square.around(box_xyxy, contract.search_crop), is_padded=True)
    return resize(crop, contract.crop_size, "linear")


def _crop_square(frame: np.ndarray, square: Square, is_padded: bool) -> np.ndarray:
    """The part of a frame in a square; what is outside is black, or left out."""
    height, width = frame.shape[:2]
    # 1. How much of each side of the square is outside, with the extra column and row of `sample_target`.
    left, top = max(0, -square.left), max(0, -square.top)
    right = max(0, square.left + square.side - width + 1)
    bottom = max(0, square.top + square.side - height + 1)
    # 2. The part inside.
    start, stop = (square.top + top, square.left + left), (square.side - bottom, square.side - right)
    inside = frame[
        start[0] : max(start[0], square.top + stop[0]), start[1] : max(start[1], square.left + stop[1])
    ]
    if not inside.size:  # a box at or beyond the border
        return np.zeros((square.side, square.side, 3), np.uint8)
    if not is_padded:
        return inside.copy()
    return np.pad(inside, ((top, bottom), (left, right), (0, 0)))


def _longer_square(box_xyxy: Box, contract: Contract) -> tuple[int, int, int]:
    """Left, top and side of the square of `template_scale` times the longer side of a box."""
    x, y = center(box_xyxy)
    longer = max(box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1])
    side = max(2, round(longer * contract.template_scale))
    return round(x - side / 2), round(y - side / 2), side


def _crop_longer(frame: np.ndarray, box_xyxy: Box, contract: Contract) -> np.ndarray:
    """The square around a box; what lies outside the frame is filled with the mean colour of the frame."""
    import cv2

    left, top, side = _longer_square(box_xyxy, contract)
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
