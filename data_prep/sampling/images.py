"""The pictures of a pair as the model gets them by a contract, and where its target lies in them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.contract.contract import Contract
from data_prep.contract.images import (
    crop_template,
    draw_visual_prompt,
    drawn_as,
    resize,
    search_size,
    template_size,
)
from data_prep.geometry import Box, Size, clamp, is_inside, rescale, xywh_to_xyxy
from data_prep.sampling.pairs import Pair
from data_prep.video.images import read_image


@dataclass(frozen=True, eq=False)
class PairPictures:
    """The crop around the target, and the search frame with its rectangle: RGB uint8 (height, width, 3).

    `template` is None, and no rectangle drawn, where the pair does not show them. `frame` is the search
    frame's size before, `box_xyxy` the target in its pixels, inside it, None where the target that is meant
    is not visible.
    """

    template: np.ndarray | None
    search: np.ndarray
    frame: Size
    box_xyxy: Box | None

    @property
    def resized(self) -> Size:
        """Width and height of `search`."""
        return size_of(self.search)

    @property
    def box_resized(self) -> Box | None:
        """The target in pixels of `search`."""
        return None if self.box_xyxy is None else rescale(self.box_xyxy, self.frame, self.resized)


def pictures_of(pair: Pair, contract: Contract) -> PairPictures:
    """Read and draw a pair's pictures.

    Raises UserError where a frame cannot be read, or a box lies outside its frame.
    """
    frame = read_image(Path(pair.search))
    size = size_of(frame)
    box = None if pair.search_xywh is None else inside_frame(pair.search_xywh, size)
    resized = search_size(contract, size)
    search = resize(frame, resized)
    if pair.marked:
        looks = drawn_as(contract, pair.visual_prompt_colour, pair.visual_prompt_width)
        search = draw_visual_prompt(search, rescale(pair.visual_prompt_xyxy, size, resized), looks)
    template = _template(pair, contract) if pair.templated else None
    return PairPictures(template, search, frame=size, box_xyxy=box)


def _template(pair: Pair, contract: Contract) -> np.ndarray:
    frame = read_image(Path(pair.template))
    crop = crop_template(frame, inside_frame(pair.template_xywh, size_of(frame)), contract)
    return resize(crop, template_size(contract, size_of(crop)))


def inside_frame(box_xywh: Box, size: Size) -> Box:
    """The part of a box inside its frame, xyxy, however small. Raises UserError where there is none."""
    box_xyxy = xywh_to_xyxy(box_xywh)
    if not is_inside(box_xyxy, size):
        raise UserError(f"its box {box_xywh} lies outside the frame")
    return clamp(box_xyxy, size)


def size_of(image: np.ndarray) -> Size:
    """Width and height of an image (height, width, 3)."""
    return image.shape[1], image.shape[0]
