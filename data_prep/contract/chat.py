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
    """The chat of one question: words first, then the template, the search image last.

    What a track never changes stands first, and the image tokens can see the words. Image parts
    are placeholders, in the order in which the images must be given: template (if any), search.
    `coordinates` (a key of `COORDINATES`; None: the contract's) says what the numbers of the answer are
    asked to count.
    """
    wording, numbers = WORDINGS[contract.wording], COORDINATES[coordinates or contract.coordinates]
    parts: list[dict[str, Any]] = [_text(wording.expression.format(expression=expression, numbers=numbers))]
    if has_template:
        parts += [_text(wording.template), {"type": "image"}, _text(wording.after_template)]
    parts += [_text(wording.marked if is_marked else wording.search), {"type": "image"}]
    parts += [_text(wording.after_search)]
    return [{"role": "user", "content": [part for part in parts if part != _text("")]}]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def counted_size(coordinates: str, resized: Size, frame: Size) -> Size:
    """What the numbers of a box at the right bottom corner of an image are by a key of `COORDINATES`."""
    return {"resized": resized, "frame": frame, "thousand": THOUSAND}[coordinates]


def box_text(contract: Contract, numbers: Box) -> str:
    """The numbers of a box, counted already as they are to be read, as the contract writes them."""
    return contract.separator.join(f"{round(value):0{contract.digits}d}" for value in numbers)


def answer_of(contract: Contract, numbers: Box | None) -> str:
    """The answer, behind its start, for a box in numbers that are counted already; None: it is absent."""
    return contract.format.render(None if numbers is None else box_text(contract, numbers))


def answer_text(contract: Contract, box_resized: Box | None, resized: Size) -> str:
    """The answer that the grounder should give, behind its start; None means that the target is absent.

    The box is in pixels of the resized search image, whose size (width, height) is `resized`. It is written
    as `round_box` makes it, so the box of a very small target is one unit wide, never nothing.
    """
    if box_resized is None:
        return answer_of(contract, None)
    counted = counted_size(contract.coordinates, resized, resized)
    return answer_of(contract, round_box(rescale(box_resized, resized, counted), counted))


def to_frame(contract: Contract, numbers: Box, resized: Size, frame: Size) -> Box | None:
    """Decoded numbers as a box in pixels of the frame, inside it; None where nothing of it is left.

    Equal numbers (`x1` = `x2`) inside the image are a side of one unit: a grid cannot say less, and a model
    may have learned to write them for a target narrower than a unit. Numbers turned inside out, or beside the
    image, are no box.
    """
    counted = counted_size(contract.coordinates, resized, frame)
    (left, right), (top, bottom) = (
        _at_least_a_unit(numbers[axis], numbers[axis + 2], counted[axis]) for axis in (0, 1)
    )
    box = clamp(rescale((left, top, right, bottom), counted, frame), frame)
    return box if box[2] > box[0] and box[3] > box[1] else None


def _at_least_a_unit(start: float, stop: float, length: int) -> tuple[float, float]:
    """Equal corners inside a side of `length` as the unit that `round_box` makes of them."""
    if start != stop or not 0 <= start <= length:
        return start, stop
    unit = min(math.floor(start), length - 1)
    return unit, unit + 1
