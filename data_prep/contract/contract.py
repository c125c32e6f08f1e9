"""The contract: what the grounder reads, and what it answers. Training and inference both follow it.

A contract chooses the wording of the question (data_prep/contract/wordings.py), the format of the answer
(data_prep/contract/formats.py), the sizes and crops of the images, the look of the visual prompt, and the
unit of coordinates. With the answer format `json` the answer is one line,

    {"visible": true, "bbox_2d": [x1, y1, x2, y2]}      or      {"visible": false}

with corners in pixels of the resized search image (the convention of Qwen2.5-VL) or in thousandths of its
sides (that of Qwen3-VL).
"""

import dataclasses
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.contract.checks import check_contract
from data_prep.contract.formats import ANSWER_FORMATS, DEFAULT_FORMAT, AnswerFormat
from data_prep.contract.wordings import WORDINGS, Wording
from data_prep.files import write_whole

CONTRACT_FILE = "contract.json"


@dataclass(frozen=True)
class QuestionForm:
    """How one question is asked and answered, by what it has: a template, and the last box of the target.

    `has_template`: the question contains the template image. `is_marked`: it shows the last known place of
    the target, by a rectangle or by a crop. `is_cropped`: the search image is a crop around that place.
    """

    wording: Wording
    answer_format: AnswerFormat
    has_template: bool
    is_marked: bool
    is_cropped: bool


@dataclass(frozen=True)
class Contract:
    """What a checkpoint was trained to read and to answer; stored as `contract.json` beside its weights."""

    wording: str = "instruct"  # key of WORDINGS
    separator: str = ", "  # between the numbers of a box
    digits: int = 0  # numbers are padded with zeros to this length; 0: not padded
    coordinates: str = "resized"  # unit of the numbers: a key of COORDINATES
    side_multiple: int = 28  # sides of every resized image are multiples: the pixels of one token's side
    min_pixels: int = 128 * 28 * 28  # of the resized search image
    max_pixels: int = 768 * 28 * 28
    # Width and height of every resized search image; 0, 0: chosen by the budget of pixels.
    search_size: tuple[int, int] = (0, 0)
    template_pixels: int = 64 * 28 * 28  # of the resized template crop
    template_scale: float = 2.0  # side of the template crop, as a multiple of the box (`template_crop`)
    prompt_scale: float = 3.0  # sides of the visual prompt, as a multiple of those of the last box
    prompt_colour: tuple[int, int, int] = (255, 0, 0)  # RGB
    prompt_width: float = 0.006  # line width, as a share of the search image's longer side
    answer_format: str = DEFAULT_FORMAT  # key of ANSWER_FORMATS

    # The fields below describe checkpoints of others. They are written only where they differ from these
    # defaults, so the files and hashes of older contracts stay the same.
    # longer: a square of `template_scale` times the longer side of the box, filled with the mean colour;
    # area: of `template_scale` times the root of its area, filled with black; area_cut: as area, but cut off
    # at the border of the frame.
    template_crop: str = "longer"
    template_min_pixels: int = 0  # the resized template has at least these; 0: exactly `template_pixels`
    crop_size: tuple[int, int] = (0, 0)  # of every resized template and search crop; 0, 0: by the budget
    # Side of the square search crop around the last box, as a multiple of the root of its area; 0: whole
    # frames are searched.
    search_crop: float = 0.0
    prompt_line: int = 0  # line width in pixels of the frame, drawn before resizing; 0: `prompt_width`
    draws_prompt: bool = True  # whether a rectangle is drawn around the last box
    shows_template: bool = True  # whether questions contain the template
    clips_boxes: bool = True  # a box beyond the image: clipped to it, or (false) no box
    resampling: str = "area"  # filter of resizing: area or bicubic (`images.resize`)
    # Wording and answer format of questions that lack the template or the last box; empty: as all others.
    initial_wording: str = ""
    initial_answer_format: str = ""
    thinking: int = 0  # most tokens of a thought before the answer; 0: there is none
    # Further fixed sizes of search images; of these and `search_size` a frame has the one nearest in aspect.
    other_search_sizes: tuple[tuple[int, int], ...] = ()

    @property
    def format(self) -> AnswerFormat:
        """How answers are written."""
        return ANSWER_FORMATS[self.answer_format]

    def form(self, has_template: bool, has_last_box: bool) -> QuestionForm:
        """How a question is asked that has a template and the last box of the target, or lacks them."""
        has_template = has_template and self.shows_template
        is_marked = has_last_box and (self.draws_prompt or self.search_crop > 0)
        if self.initial_wording and not (has_template and is_marked):
            initial = ANSWER_FORMATS[self.initial_answer_format or self.answer_format]
            return QuestionForm(WORDINGS[self.initial_wording], initial, False, False, False)
        is_cropped = is_marked and self.search_crop > 0
        return QuestionForm(WORDINGS[self.wording], self.format, has_template, is_marked, is_cropped)

    @property
    def search_sizes(self) -> tuple[tuple[int, int], ...]:
        """All fixed sizes (width, height) of search images; empty: they follow from the budget of pixels."""
        return (self.search_size, *self.other_search_sizes) if all(self.search_size) else ()

    @property
    def formats(self) -> tuple[AnswerFormat, ...]:
        """All formats of answers that this contract can ask for."""
        return self.format, self.form(has_template=False, has_last_box=False).answer_format


BUILT_IN: dict[str, Contract] = {}
"""Contracts by name, for checkpoints without a contract.json (`model.contract=…`) and for new models."""

# ---- what this project trains ---------------------------------------------------------------------

BUILT_IN["instruct"] = Contract()
BUILT_IN["instruct3"] = Contract(
    coordinates="thousand",
    side_multiple=32,
    min_pixels=128 * 32 * 32,
    max_pixels=768 * 32 * 32,
    template_pixels=64 * 32 * 32,
)
BUILT_IN["short"] = Contract(
    wording="short",
    separator=",",
    digits=3,
    min_pixels=12 * 8 * 28 * 28,
    max_pixels=12 * 8 * 28 * 28,
    search_size=(12 * 28, 8 * 28),
    template_pixels=2 * 2 * 28 * 28,
    prompt_width=0.012,
)

# ---- published checkpoints ------------------------------------------------------------------------

# Qwen2.5-VL and Qwen3-VL as published. Their training had one image in a grounding question, and nothing
# drawn in it, so the template and the rectangle are left out.
_ZERO_SHOT: dict[str, Any] = {
    "wording": "qwen",
    "answer_format": "qwen_list",
    "shows_template": False,
    "draws_prompt": False,
    "resampling": "bicubic",
}
BUILT_IN["qwen"] = replace(BUILT_IN["instruct"], **_ZERO_SHOT)
BUILT_IN["qwen3"] = replace(BUILT_IN["instruct3"], **_ZERO_SHOT)
BUILT_IN["qwen3_thinking"] = replace(BUILT_IN["qwen3"], answer_format="qwen_list_think", thinking=1024)

# https://huggingface.co/jcwang0602/VPTracker, by the `train.sh` and `infer.sh` of its repository. Images have
# 4 (the default of qwen-vl-utils) to 1024 tokens (IMAGE_MAX_TOKEN_NUM).
BUILT_IN["vptracker"] = Contract(
    wording="vptracker",
    answer_format="vptracker",
    coordinates="frame",
    side_multiple=32,
    min_pixels=4 * 32 * 32,
    max_pixels=1024 * 32 * 32,
    template_pixels=1024 * 32 * 32,
    template_min_pixels=4 * 32 * 32,
    template_crop="area_cut",
    prompt_scale=4.0,
    prompt_line=3,
    clips_boxes=False,
    resampling="bicubic",
)

# https://huggingface.co/WangBiao: R1-Track. The models trained on R1-Track-100k, those on R1-Track-5k, and
# R1-Track-GRPO-5k, which thinks before it answers.
BUILT_IN["r1_track"] = Contract(
    wording="r1_track",
    answer_format="r1_track",
    separator=",",
    template_crop="area",
    template_scale=4.0,
    crop_size=(336, 336),
    search_crop=4.0,
    draws_prompt=False,
    resampling="bicubic",
    initial_wording="r1_track_words",
    initial_answer_format="qwen_list",
)
BUILT_IN["r1_track_5k"] = replace(BUILT_IN["r1_track"], wording="r1_track_5k")
BUILT_IN["r1_track_think"] = replace(
    BUILT_IN["r1_track"], wording="r1_track_think", answer_format="r1_track_think", thinking=512
)

# ---- detectors ------------------------------------------------------------------------------------


def detector_contract(side: int, side_multiple: int) -> Contract:
    """The contract of a detector of text prompts: a square image of `side` pixels, and the expression.

    There is no template, nothing is drawn, and nothing is cropped. The answer is no text, so the format and
    the units of answers have no meaning. It is not in `BUILT_IN`: no multimodal LLM is asked by it.
    `side_multiple` is the side of a patch in pixels.
    """
    return Contract(
        wording="phrase",
        side_multiple=side_multiple,
        min_pixels=side * side,
        max_pixels=side * side,
        search_size=(side, side),
        draws_prompt=False,
        shows_template=False,
    )


# ---- the file ------------------------------------------------------------------------------------

LARGEST_CONTRACT = 1 << 16  # bytes
_SIZES = ("search_size", "crop_size")
_LATER = (  # fields that are written only where they differ from their defaults
    *("answer_format", "template_crop", "template_min_pixels", "crop_size", "search_crop", "prompt_line"),
    *("draws_prompt", "shows_template", "clips_boxes", "resampling"),
    *("initial_wording", "initial_answer_format", "thinking", "other_search_sizes"),
)


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
        for name in _SIZES:
            values[name] = tuple(values.get(name, (0, 0)))
        values["other_search_sizes"] = tuple(map(tuple, values.get("other_search_sizes", ())))
        contract = Contract(**values)
        check_contract(contract)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as fault:
        raise UserError(f"{path}: not a contract ({fault}); restore the file of the checkpoint") from None
    return contract


def write_contract(folder: Path, contract: Contract) -> None:
    """Write the contract beside a checkpoint's weights."""
    write_whole(folder / CONTRACT_FILE, json.dumps(contract_values(contract), indent=2) + "\n")


def contract_values(contract: Contract) -> dict[str, Any]:
    """The values of a contract as contract.json stores them.

    Fields that were added later are left out where they have their defaults. Contracts that were written
    before do not have them, so their hashes, which identify runs and checkpoints, stay the same.
    """
    values = dataclasses.asdict(contract)
    for name in _LATER:
        if values[name] == getattr(Contract, name):
            del values[name]
    return values


def trained_contract(contract: Contract) -> Contract:
    """The contract for fine-tuning published weights that are asked by `contract` as they are.

    Plain Qwen-VL learns this project's wording and answer, which say more and are shorter to decode.
    """
    if contract.wording != "qwen":
        return contract
    return BUILT_IN["instruct" if contract.side_multiple == 28 else "instruct3"]


def check_trainable(contract: Contract, name: str) -> None:
    """Raise UserError for a contract that only inference can follow; `name` is the key in the message."""
    if contract.search_crop or contract.thinking:
        reason = "a search crop around the last box" if contract.search_crop else "a thought"
        raise UserError(
            f"{name}: asks with {reason}, which training pairs do not have; take instruct for Qwen2.5-VL, or "
            "instruct3 for Qwen3-VL"
        )
