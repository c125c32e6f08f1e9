"""Whether a target is large enough for the grounder to see it."""

import math
from collections.abc import Mapping, Sequence

from configs.terminal import LONGEST_NAME, shortened
from data_prep.contract.contract import Contract
from data_prep.contract.images import search_size
from data_prep.geometry import Box, Size, rescale


def small_target_of(
    boxes_xyxy: Mapping[str, Sequence[Box | None]], contract: Contract, size: Size
) -> str | None:
    """Which target of a sequence is too small for the grounder, why, and the remedy; None if none is.

    `boxes_xyxy` holds the boxes of a track by its expression, one per frame. The last one counts. Only the
    first small target is named, because the remedy is the same for all.
    """
    for expression, boxes in boxes_xyxy.items():
        last = next((box for box in reversed(boxes) if box is not None), None)
        if last is not None and (why := small_target(contract, last, size)):
            return f"“{shortened(expression, LONGEST_NAME)}”: {why}"
    return None


def small_target(contract: Contract, box_xyxy: Box, size: Size) -> str | None:
    """Why a target is too small for the grounder, and the remedy; None where it is large enough.

    `box_xyxy` is in pixels of the frame, whose size (width, height) is `size`. The limit is half the side of
    a language token, which is one patch of the vision tower: what is narrower fills no patch, so the model
    sees it mixed with its background.
    """
    # A model that was trained on one size of search images saw its small targets in them, and takes no other.
    # One that searches a crop around the last box sees every target at about the same size.
    if all(contract.search_size) or contract.search_crop:
        return None
    resized, multiple = search_size(contract, size), contract.side_multiple
    left, top, right, bottom = rescale(box_xyxy, size, resized)
    width, height = right - left, bottom - top
    side = min(width, height)
    # A box without an area, which a user may have given, says nothing about the size of the target.
    if side <= 0 or side >= multiple / 2:
        return None
    seen = f"the grounder saw its last box at {width:.0f} by {height:.0f} pixels, less than half a token"
    # The area of the search image must grow by the square of what the side lacks, and a little more, because
    # sides are rounded down to whole tokens. A frame is not enlarged beyond its own size.
    if contract.max_pixels >= size[0] * size[1]:
        return f"{seen}, and the frame at its own size; a video of higher resolution would help"
    own = math.ceil(size[0] * size[1] / multiple**2)
    needed = math.ceil(resized[0] * resized[1] / multiple**2 * (0.55 * multiple / side) ** 2)
    return f"{seen}; model.search_tokens={min(needed, own)} shows it larger"
