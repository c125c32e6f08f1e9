"""The images of a pair as the model receives them by a contract, and the target's box in them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.contract.contract import Contract
from data_prep.contract.crops import crop_template
from data_prep.contract.images import drawn_as, resized_template, search_image, search_size
from data_prep.geometry import Box, Size, clamp, is_inside, rescale, xywh_to_xyxy
from data_prep.sampling.pairs import Pair
from data_prep.video.images import read_image


@dataclass(frozen=True, eq=False)
class PairImages:
    """The template and the search image with its rectangle, both resized: RGB uint8 (height, width, 3).

    `template` is None, and no rectangle is drawn, where the pair does not show them. `frame` is the size of
    the search frame before resizing, and `box_xyxy` the part of the target's box inside the frame, in its
    pixels; None where the target that is meant is not visible.
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


def images_of(pair: Pair, contract: Contract) -> PairImages:
    """Read the frames of a pair, and draw and resize its images.

    Raises UserError where a frame cannot be read, or a box lies outside its frame.
    """
    frame = read_image(Path(pair.search))
    size = size_of(frame)
    # The box is clipped to the frame: some data sets have boxes that exceed it.
    box = None if pair.search_xywh is None else inside_frame(pair.search_xywh, size)
    # The rectangle is drawn as in inference, but in the colour and width that the pair has of its own.
    looks = drawn_as(contract, pair.visual_prompt_colour, pair.visual_prompt_width)
    rectangle = pair.visual_prompt_xyxy if pair.marked and contract.draws_prompt else None
    search = search_image(frame, rectangle, looks, search_size(contract, size))
    template = _template(pair, contract) if pair.templated and contract.shows_template else None
    return PairImages(template, search, frame=size, box_xyxy=box)


def _template(pair: Pair, contract: Contract) -> np.ndarray:
    frame = read_image(Path(pair.template))
    # The crop is made in the resolution of the frame, and resized afterwards.
    crop = crop_template(frame, inside_frame(pair.template_xywh, size_of(frame)), contract)
    return resized_template(contract, crop)


def inside_frame(box_xywh: Box, size: Size) -> Box:
    """The part of a box inside its frame, however small. Raises UserError where no part is inside."""
    box_xyxy = xywh_to_xyxy(box_xywh)
    if not is_inside(box_xyxy, size):
        raise UserError(f"its box {box_xywh} lies outside the frame")
    return clamp(box_xyxy, size)


def size_of(image: np.ndarray) -> Size:
    """Width and height of an image (height, width, 3)."""
    return image.shape[1], image.shape[0]
