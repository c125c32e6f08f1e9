"""The checks of a contract's values. The file may come from anywhere."""

import dataclasses
import re
from typing import TYPE_CHECKING

from data_prep.contract.formats import ANSWER_FORMATS
from data_prep.contract.wordings import COORDINATES, WORDINGS

if TYPE_CHECKING:
    from data_prep.contract.contract import Contract

MOST_PIXELS = 1 << 26  # of an image: four times what Qwen's own processor allows

LIMITS: dict[str, tuple[float, float]] = {
    "side_multiple": (1, 1024),
    "min_pixels": (1, MOST_PIXELS),
    "max_pixels": (1, MOST_PIXELS),
    "template_pixels": (1, MOST_PIXELS),
    "template_min_pixels": (0, MOST_PIXELS),
    "template_scale": (0.1, 16.0),  # the crop is cut out at the frame's own resolution
    "search_crop": (0.0, 16.0),
    "prompt_scale": (0.1, 1000.0),
    "prompt_width": (0.0, 1.0),
    "prompt_line": (0, 1000),
    "digits": (0, 8),
    "thinking": (0, 1 << 16),
}
"""Smallest and largest value of the numbers of a contract. Beyond them memory ends, or an image is empty."""

CHOICES: dict[str, tuple[str, ...]] = {
    "coordinates": tuple(COORDINATES),
    "template_crop": ("longer", "area", "area_cut"),
    "resampling": ("area", "bicubic"),
}


def check_contract(contract: "Contract") -> None:
    """Raise TypeError for a value of another type than its default, and ValueError for one out of range."""
    # 1. Types. A whole number is accepted where a float is expected, but true and false are not numbers.
    for field in dataclasses.fields(contract):
        value = getattr(contract, field.name)
        kind = (int, float) if isinstance(field.default, float) else type(field.default)
        if not isinstance(value, kind) or isinstance(value, bool) != isinstance(field.default, bool):
            raise TypeError(f"{field.name} is {value!r}")
    # 2. Ranges of the numbers, and rules about several of them.
    for name, (smallest, largest) in LIMITS.items():
        if not smallest <= (value := getattr(contract, name)) <= largest:  # also of NaN
            raise ValueError(f"{name} is {value}, not {smallest} to {largest}")
    for least, most in (("min_pixels", "max_pixels"), ("template_min_pixels", "template_pixels")):
        if getattr(contract, least) > getattr(contract, most):
            raise ValueError(f"{least} is {getattr(contract, least)}, above {most} {getattr(contract, most)}")
    for name in ("search_size", "crop_size"):
        _check_size(name, getattr(contract, name), contract.side_multiple)
    for size in contract.other_search_sizes:
        _check_size("other_search_sizes", size, contract.side_multiple)
        if not all(size) or not all(contract.search_size):
            raise ValueError("other_search_sizes needs a search_size, and has no zeros")
    _check_texts(contract)
    _check_names(contract)


def _check_texts(contract: "Contract") -> None:
    colour = contract.prompt_colour
    if len(colour) != 3 or any(type(value) is not int or not 0 <= value <= 255 for value in colour):
        raise ValueError(f"prompt_colour is {list(colour)}, not three numbers of 0 to 255")
    # A digit, sign, dot or bracket in the separator would make the numbers of an answer ambiguous.
    if not re.fullmatch(r"[^\d\].-]{1,8}", contract.separator):
        raise ValueError(
            f"separator is {contract.separator[:20]!r}, not 1 to 8 characters that cannot be part of a number"
        )


def _check_names(contract: "Contract") -> None:
    for name, choices in CHOICES.items():
        if (value := getattr(contract, name)) not in choices:
            raise ValueError(f"{name} is {value!r}, not one of {', '.join(choices)}")
    # An empty initial name means that of all other questions.
    for wording in (contract.wording, contract.initial_wording or contract.wording):
        if wording not in WORDINGS:
            raise ValueError(f"no wording is named {wording!r}")
    for answers in (contract.answer_format, contract.initial_answer_format or contract.answer_format):
        if answers not in ANSWER_FORMATS:
            raise ValueError(f"no answer format is named {answers!r}")
    # A thought without an end would be generated up to the limit and then cut.
    if bool(contract.thinking) != any(answers.thought_end for answers in contract.formats):
        named = " and ".join(filter(None, (contract.answer_format, contract.initial_answer_format)))
        raise ValueError(f"thinking is {contract.thinking}, but the answer format is {named}")
    if contract.search_crop and not all(contract.crop_size):
        raise ValueError("search_crop needs a crop_size")


def _check_size(name: str, size: tuple[int, int], multiple: int) -> None:
    # A fixed size must consist of whole tokens.
    if len(size) != 2 or any(type(side) is not int or side % multiple or side < 0 for side in size):
        raise ValueError(f"{name} is {list(size)}, not two multiples of {multiple}")
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(f"{name} is {list(size)}, more than {MOST_PIXELS} pixels")
