"""The chat of a question, and the text of its answer, by a contract."""

import math
import re
from typing import Any

from data_prep.contract.contract import Contract
from data_prep.contract.images import colour_name
from data_prep.contract.wordings import COORDINATES, SEARCH_IMAGE, TEMPLATE_IMAGE
from data_prep.geometry import Box, Size, clamp, rescale, round_box

THOUSAND = (1000, 1000)
IMAGES = re.compile(f"({re.escape(TEMPLATE_IMAGE)}|{re.escape(SEARCH_IMAGE)})")


def messages(
    contract: Contract,
    expression: str,
    has_template: bool,
    is_marked: bool,
    coordinates: str | None = None,
    template_box: Box = (0, 0, 0, 0),
) -> list[dict[str, Any]]:
    """The chat of one question: one turn of the user, with texts and images in the order of the wording.

    Images are placeholders, in the order in which they must be passed to the processor: the template (if the
    question has one), the search image. `is_marked` says whether the last box of the target is known.
    `coordinates` is the unit in which the question asks for a box, a key of `COORDINATES`; None: that of the
    contract. `template_box` is the target's box in pixels of the resized template, for wordings that name it.
    """
    # 1. The text of the contract's wording, with the parts that this question has.
    form = contract.form(has_template, is_marked)
    text = form.wording.text(form.has_template, form.is_marked)
    values = {
        "expression": form.wording.named(expression),
        "numbers": COORDINATES[coordinates or contract.coordinates],
        # R1-Track's data cut off the decimals of this box.
        "template_box": "[" + ",".join(str(int(value)) for value in template_box) + "]",
        "colour": colour_name(contract.prompt_colour),
    }
    # 2. The values are filled in part by part, since an expression may contain the placeholder of an image.
    parts = [
        {"type": "image"} if IMAGES.fullmatch(part) else {"type": "text", "text": part.format(**values)}
        for part in IMAGES.split(text)
        if part
    ]
    return [{"role": "user", "content": parts}]


def counted_size(coordinates: str, resized: Size, frame: Size) -> Size:
    """The coordinates of the right bottom corner of an image in the unit `coordinates`, a key of
    `COORDINATES`.
    """
    return {"resized": resized, "frame": frame, "thousand": THOUSAND}[coordinates]


def box_text(contract: Contract, numbers: Box) -> str:
    """The numbers of a box, in the unit of the answer, as the contract writes them."""
    return contract.separator.join(f"{round(value):0{contract.digits}d}" for value in numbers)


def answer_of(contract: Contract, numbers: Box | None) -> str:
    """The answer after its fixed start, for a box in the unit of the answer; None: the target is absent."""
    return contract.format.render(None if numbers is None else box_text(contract, numbers))


def answer_text(
    contract: Contract, box_resized: Box | None, resized: Size, original: Size | None = None
) -> str:
    """The answer that the grounder should give, after its fixed start; None means that the target is absent.

    The box is in pixels of the resized search image, whose size (width, height) is `resized`. `original` is
    the size of the frame that it was resized from, for contracts that count its pixels; None: the same size.
    The box is rounded by `round_box`, so that of a very small target is one unit wide and never empty.
    """
    if box_resized is None:
        return answer_of(contract, None)
    counted = counted_size(contract.coordinates, resized, original or resized)
    return answer_of(contract, round_box(rescale(box_resized, resized, counted), counted))


def to_frame(
    contract: Contract, numbers: Box, resized: Size, frame: Size, original: Size | None = None
) -> Box | None:
    """Decoded numbers as a box in pixels of an image, clipped to it; None where nothing of the box is left.

    `frame` is the size of the question's image, and `resized` that of what the model received. `original` is
    the size of the frame that the image was made from, where it was resized before; None: the same size.

    - Equal numbers (`x1` = `x2`) inside the image count as one unit. Whole numbers cannot express less, and a
      model may have learned to write them for a target that is narrower than a unit.
    - Numbers of 0 to 1, one of them a fraction, are shares of the image's sides. Equal shares are an empty
      box, which gives None.
    - Reversed numbers and a box outside the image give None; so does, without `clips_boxes`, a box that
      reaches beyond the image.
    """
    # The size of the image in the unit of the answer: rescaling from it to the frame converts the numbers.
    if are_shares(numbers):
        counted, widened = (1, 1), numbers
    else:
        counted = counted_size(contract.coordinates, resized, original or frame)
        (left, right), (top, bottom) = (
            _at_least_a_unit(numbers[axis], numbers[axis + 2], counted[axis]) for axis in (0, 1)
        )
        widened = (left, top, right, bottom)
    if not contract.clips_boxes and clamp(numbers, counted) != numbers:
        return None
    box = clamp(rescale(widened, counted, frame), frame)
    return box if box[2] > box[0] and box[3] > box[1] else None


def are_shares(numbers: Box) -> bool:
    """Whether the numbers of a box are shares of the image's sides: within 0 to 1, and not all whole."""
    return all(0 <= value <= 1 for value in numbers) and any(value % 1 for value in numbers)


def _at_least_a_unit(start: float, stop: float, length: int) -> tuple[float, float]:
    """Equal corners inside a side of `length`, widened to the unit that `round_box` makes of them."""
    if start != stop or not 0 <= start <= length:
        return start, stop
    unit = min(math.floor(start), length - 1)
    return unit, unit + 1
