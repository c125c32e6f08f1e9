"""The chat of a question, and the text of its answer, by a contract."""

import math
from typing import Any

from data_prep.contract.contract import Contract
from data_prep.contract.formats import COORDINATES, WORDINGS
from data_prep.geometry import Box, Size, clamp, rescale, round_box

THOUSAND = (1000, 1000)


def messages(
    contract: Contract, expression: str, has_template: bool, is_marked: bool, coordinates: str | None = None
) -> list[dict[str, Any]]:
    """The chat of one question: first the expression, then the template, last the search image.

    The parts that do not change during a track come first, and the
    tokens of the images can attend to the expression. Images are placeholders, in the order in which they
    must be passed to the processor: the template (if there is one), the search image. `coordinates` is the
    unit in which the question asks for a box, a key of `COORDINATES`; None: that of the contract.
    """
    # 1. The wording of the contract, with the unit in which the box is asked for.
    wording, numbers = WORDINGS[contract.wording], COORDINATES[coordinates or contract.coordinates]
    parts: list[dict[str, Any]] = [_text(wording.expression.format(expression=expression, numbers=numbers))]
    # 2. The template, between the texts that introduce and end it.
    if has_template:
        parts += [_text(wording.template), {"type": "image"}, _text(wording.after_template)]
    # 3. The search image. Another text introduces it if it contains a visual prompt.
    parts += [_text(wording.marked if is_marked else wording.search), {"type": "image"}]
    parts += [_text(wording.after_search)]
    return [{"role": "user", "content": [part for part in parts if part != _text("")]}]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


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


def answer_text(contract: Contract, box_resized: Box | None, resized: Size) -> str:
    """The answer that the grounder should give, after its fixed start; None means that the target is absent.

    The box is in pixels of the resized search image, whose size (width, height) is `resized`. It is rounded
    by `round_box`, so the box of a very small target is one unit wide and never empty.
    """
    if box_resized is None:
        return answer_of(contract, None)
    counted = counted_size(contract.coordinates, resized, resized)
    return answer_of(contract, round_box(rescale(box_resized, resized, counted), counted))


def to_frame(contract: Contract, numbers: Box, resized: Size, frame: Size) -> Box | None:
    """Decoded numbers as a box in pixels of the frame, clipped to it; None where nothing of the box is left.

    Equal numbers (`x1` = `x2`) inside the image count as one unit. Whole numbers cannot express less, and a
    model may have learned to write them for a target that is narrower than a unit. Reversed numbers and a box
    outside the image give None.
    """
    # The size of the image in the unit of the answer: rescaling from it to the frame converts the numbers.
    counted = counted_size(contract.coordinates, resized, frame)
    (left, right), (top, bottom) = (
        _at_least_a_unit(numbers[axis], numbers[axis + 2], counted[axis]) for axis in (0, 1)
    )
    box = clamp(rescale((left, top, right, bottom), counted, frame), frame)
    return box if box[2] > box[0] and box[3] > box[1] else None


def _at_least_a_unit(start: float, stop: float, length: int) -> tuple[float, float]:
    """Equal corners inside a side of `length`, widened to the unit that `round_box` makes of them."""
    if start != stop or not 0 <= start <= length:
        return start, stop
    unit = min(math.floor(start), length - 1)
    return unit, unit + 1
