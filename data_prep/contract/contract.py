"""The contract: what the grounder reads, and what it answers. Training and inference both follow it.

A contract chooses the wording of the question and the format of the answer (both in
data_prep/contract/formats.py), the sizes of the images, the look of the visual prompt, and the unit of
coordinates. With the answer format `json` the answer is one line,

    {"visible": true, "bbox_2d": [x1, y1, x2, y2]}      or      {"visible": false}

with corners in pixels of the resized search image (the convention of Qwen2.5-VL) or in thousandths of its
sides (that of Qwen3-VL).
"""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.contract.formats import ANSWER_FORMATS, DEFAULT_FORMAT, WORDINGS, AnswerFormat
from data_prep.files import write_whole

CONTRACT_FILE = "contract.json"


@dataclass(frozen=True)
class Contract:
    """What a checkpoint was trained to read and to answer; stored as `contract.json` beside its weights."""

    wording: str = "instruct"  # key of WORDINGS
    separator: str = ", "  # between the numbers of a box
    digits: int = 0  # numbers are padded with zeros to this length; 0: not padded
    coordinates: str = "resized"  # unit of the numbers: a key of COORDINATES, but not frame
    side_multiple: int = 28  # sides of every resized image are multiples: the pixels of one token's side
    min_pixels: int = 128 * 28 * 28  # of the resized search image
    max_pixels: int = 768 * 28 * 28
    # Width and height of every resized search image; 0, 0: chosen by the budget of pixels.
    search_size: tuple[int, int] = (0, 0)
    template_pixels: int = 64 * 28 * 28  # of the resized template crop
    template_scale: float = 2.0  # side of the template crop, as a multiple of the longer side of the box
    prompt_scale: float = 3.0  # sides of the visual prompt, as a multiple of those of the last box
    prompt_colour: tuple[int, int, int] = (255, 0, 0)  # RGB
    prompt_width: float = 0.006  # line width, as a share of the search image's longer side
    answer_format: str = DEFAULT_FORMAT  # key of ANSWER_FORMATS

    @property
    def format(self) -> AnswerFormat:
        """How answers are written."""
        return ANSWER_FORMATS[self.answer_format]


MOST_PIXELS = 1 << 26  # of an image: four times what Qwen's own processor allows
LARGEST_CONTRACT = 1 << 16  # bytes

LIMITS: dict[str, tuple[float, float]] = {
    "side_multiple": (1, 1024),
    "min_pixels": (1, MOST_PIXELS),
    "max_pixels": (1, MOST_PIXELS),
    "template_pixels": (1, MOST_PIXELS),
    "template_scale": (0.1, 16.0),  # the crop is cut out at the frame's own resolution
    "prompt_scale": (0.1, 1000.0),
    "prompt_width": (0.0, 1.0),
    "digits": (0, 8),
}
"""Smallest and largest value of the numbers of a contract. Beyond them memory ends, or an image is empty."""

BUILT_IN: dict[str, Contract] = {
    "qwen": Contract(),
    "qwen3": Contract(
        coordinates="thousand",
        side_multiple=32,
        min_pixels=128 * 32 * 32,
        max_pixels=768 * 32 * 32,
        template_pixels=64 * 32 * 32,
    ),
    "short": Contract(
        wording="short",
        separator=",",
        digits=3,
        min_pixels=12 * 8 * 28 * 28,
        max_pixels=12 * 8 * 28 * 28,
        search_size=(12 * 28, 8 * 28),
        template_pixels=2 * 2 * 28 * 28,
        prompt_width=0.012,
    ),
}
"""Contracts by name: for checkpoints without a contract.json (`model.contract=qwen`) and for new models."""


def read_contract(folder: Path) -> Contract | None:
    """The contract beside a checkpoint's weights; None where the folder has none.

    Raises UserError where the file does not hold a valid contract.
    """
    path = folder / CONTRACT_FILE
    if not path.is_file():
        return None
    try:
        # The file may come from anywhere, so its size is checked before it is read.
        if (size := path.stat().st_size) > LARGEST_CONTRACT:
            raise ValueError(f"{size} bytes")
        values: Any = json.loads(path.read_text("utf-8"))
        if not isinstance(values, dict):
            raise TypeError(f"a JSON object is expected, not a {type(values).__name__}")
        # JSON has lists; the contract must be hashable.
        values["prompt_colour"] = tuple(values["prompt_colour"])
        # Contracts written before there was a fixed size do not have it.
        values["search_size"] = tuple(values.get("search_size", Contract.search_size))
        contract = Contract(**values)
        check_contract(contract)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as fault:
        raise UserError(f"{path}: not a contract ({fault}); restore the file of the checkpoint") from None
    return contract


def check_contract(contract: Contract) -> None:
    """Raise TypeError for a value of another type than its default, and ValueError for one out of range."""
    # 1. Types. A whole number is accepted where a float is expected, but true and false are not numbers.
    for field in dataclasses.fields(Contract):
        value = getattr(contract, field.name)
        kind = (int, float) if isinstance(field.default, float) else type(field.default)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{field.name} is {value!r}")
    # 2. Ranges of the numbers, and rules about several of them.
    for name, (smallest, largest) in LIMITS.items():
        if not smallest <= (value := getattr(contract, name)) <= largest:  # NaN is within no limits
            raise ValueError(f"{name} is {value}, not {smallest} to {largest}")
    if contract.min_pixels > contract.max_pixels:
        raise ValueError(f"min_pixels is {contract.min_pixels}, above max_pixels {contract.max_pixels}")
    _check_search_size(contract)
    colour = contract.prompt_colour
    if len(colour) != 3 or any(type(value) is not int or not 0 <= value <= 255 for value in colour):
        raise ValueError(f"prompt_colour is {list(colour)}, not three numbers of 0 to 255")
    # A digit, sign, dot or bracket in the separator would make the numbers of an answer ambiguous.
    if not re.fullmatch(r"[^\d\].-]{1,8}", contract.separator):
        raise ValueError(
            f"separator is {contract.separator[:20]!r}, not 1 to 8 characters that are no number's"
        )
    if contract.coordinates not in ("resized", "thousand"):
        raise ValueError(f"coordinates is {contract.coordinates!r}, neither 'resized' nor 'thousand'")
    _check_names(contract)


def _check_names(contract: Contract) -> None:
    if contract.wording not in WORDINGS:
        raise ValueError(f"no wording is named {contract.wording!r}")
    if contract.answer_format not in ANSWER_FORMATS:
        raise ValueError(f"no answer format is named {contract.answer_format!r}")


def _check_search_size(contract: Contract) -> None:
    # The fixed size must consist of whole tokens.
    multiple, size = contract.side_multiple, contract.search_size
    if len(size) != 2 or any(type(side) is not int or side % multiple or side < 0 for side in size):
        raise ValueError(f"search_size is {list(size)}, not two multiples of {multiple}")
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(f"search_size is {list(size)}, more than {MOST_PIXELS} pixels")


def write_contract(folder: Path, contract: Contract) -> None:
    """Write the contract beside a checkpoint's weights."""
    write_whole(folder / CONTRACT_FILE, json.dumps(contract_values(contract), indent=2) + "\n")


def contract_values(contract: Contract) -> dict[str, Any]:
    """The values of a contract as contract.json stores them.

    The default answer format is left out. Contracts that were written before formats had names do not name
    one, so their hashes, which identify runs and checkpoints, stay the same.
    """
    values = dataclasses.asdict(contract)
    if contract.answer_format == DEFAULT_FORMAT:
        del values["answer_format"]
    return values
