"""What an exporter is, the registry of all exporters, and what exporters share.

An exporter writes drawn pairs as the training records of another system. It is one file, which registers the
exporter under the name that `format=` gives it:

    def record(plan: ExportPlan, pair: Pair) -> Record:
        return Record({"image": pair.search, "box": pair.search_xywh})

    register_exporter(Exporter("my_format", record))

Files in `data_prep/exchange/` are found by listing the package. A file elsewhere registers
its exporter when it is imported, for example by `plugins=[my_format.py]`.
"""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.extensions import Registry
from data_prep.contract.chat import counted_size
from data_prep.contract.contract import BUILT_IN, Contract, check_trainable, read_contract
from data_prep.files import inside
from data_prep.geometry import Box, Size, clamp, is_inside, rescale, round_box
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.pairs import Pair

LEAST_PIXELS = {28: 56 * 56, 32: 256 * 256}
"""Smallest area, by the divisor of the sides, that the published processors of Qwen2.5-VL (28) and Qwen3-VL
(32) leave as it is. They enlarge a smaller image."""

MOST_PIXELS = 768 * 768  # LLaMA-Factory shrinks a larger image
CONTROL_TEXT = re.compile(
    r"<\|[^|]*\|>|</?(?:image|video|audio|bbox|ref-object|cot-process|start-image|ref|template|search)>"
)
"""What trainers replace by an image, a box or a control token, wherever it stands in a text."""


@dataclass(frozen=True)
class ExportPlan:
    """What a process needs to write any record of an export.

    `contract` is a result of `safe`. `coordinates` is a key of `contract.wordings.COORDINATES`. `fill` leaves
    the numbers of boxes to the trainer. `out` is absolute.
    """

    pairs: PairPlan
    form: str
    contract: Contract
    coordinates: str
    fill: bool
    out: Path

    def image_path(self, number: int, kind: str) -> Path:
        """The file of the `template` or `search` image of a pair; each folder holds those of 1,000 pairs."""
        return inside(self.out, f"images/{number // 1000:06d}/{number:09d}-{kind}.jpg")


@dataclass(frozen=True)
class Record:
    """One row of the file of records, and the content of the files that it refers to, by path."""

    row: dict[str, Any]
    files: dict[Path, bytes] = field(default_factory=dict)


def refuse_fill(plan: ExportPlan) -> None:
    """Raise UserError where the trainer is to fill the boxes in: of the formats here only `swift` can."""
    if plan.fill:
        raise UserError("fill=true: only ms-swift fills boxes in; leave fill out")


def _nothing(_plan_or_file: Any) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Exporter:
    """How pairs are written in one format.

    `record(plan, pair)` makes the record of a pair; it raises UserError where a pair cannot be one, and the
    export leaves that pair out. `check(plan)` raises UserError for settings that do not suit the format.
    `side_files(name)` are the texts of further files, by name, for a file of records called `name`.
    `trainer_settings(plan)` are the options that the trainer needs in order to read the records as they are
    meant. `writes_contract`: the answers are those of a contract, which is written beside the records.
    `row_of_turn` makes a row of a `data_prep.exchange.chat.Turn`. Only formats that have it can hold imported
    records, which are chats without boxes.
    """

    name: str
    record: Callable[[ExportPlan, Pair], Record]
    check: Callable[[ExportPlan], None] = refuse_fill
    side_files: Callable[[str], dict[str, str]] = _nothing
    trainer_settings: Callable[[ExportPlan], dict[str, str]] = _nothing
    writes_contract: bool = True
    row_of_turn: Callable[[Any], dict[str, Any]] | None = None


# ---- the registry --------------------------------------------------------------------------------

EXPORTERS: Registry[Exporter] = Registry("format", __package__)
"""The registered exporters by name."""


def register_exporter(exporter: Exporter) -> Exporter:
    """Register an exporter under its name, and return it. Raises ValueError if another file has this name."""
    EXPORTERS.register(exporter.name, exporter, exporter.record.__module__)
    return exporter


def exporter_of(form: str) -> Exporter:
    """The exporter of a format, one of `data_prep.exchange.export_formats`."""
    EXPORTERS.load_package()
    return EXPORTERS[form]


# ---- what exporters share ------------------------------------------------------------------------


def contract_of(name: str) -> Contract:
    """The built-in contract of this name, or the contract in the checkpoint folder of this name.

    Raises UserError where there is neither.
    """
    # Built-in names have priority over folders.
    contract = BUILT_IN.get(name) or read_contract(Path(name))
    if contract is None:
        raise UserError(f"contract={name}: give {', '.join(BUILT_IN)}, or a folder with a contract.json")
    check_trainable(contract, f"contract={name}")
    return contract


def safe(contract: Contract) -> Contract:
    """The contract with pixel budgets in which no trainer resizes an image again.

    The sides of the exported images are multiples of the contract's `side_multiple`. Here the numbers of
    pixels are brought within the limits that ms-swift, LLaMA-Factory and transformers have by default.

    Raises UserError for a contract with a fixed size of search images outside these limits (its model knows
    no other size), and for one whose sides suit neither Qwen2.5-VL nor Qwen3-VL.
    """
    # 1. The family of the model, by the divisor of the sides.
    least = LEAST_PIXELS.get(contract.side_multiple)
    if least is None:
        raise UserError(
            f"contract=: its side_multiple of {contract.side_multiple} is no model's; "
            f"give one of {', '.join(map(str, LEAST_PIXELS))}"
        )
    # 2. A fixed size cannot be changed, so it must lie within the limits.
    for width, height in contract.search_sizes:
        if not least <= width * height <= MOST_PIXELS:
            raise UserError(
                f"contract=: its search size of {width}x{height} is one that trainers resize again; give one "
                f"of {least} to {MOST_PIXELS} pixels"
            )
    # 3. Budgets of pixels are moved to the nearest limit.
    search, most, template = (
        min(max(pixels, least), MOST_PIXELS)
        for pixels in (contract.min_pixels, contract.max_pixels, contract.template_pixels)
    )
    return dataclasses.replace(contract, min_pixels=search, max_pixels=most, template_pixels=template)


def counted(box_xyxy: Box, frame: Size, resized: Size, coordinates: str) -> Box:
    """The part of a box inside its frame, as whole numbers in the given coordinates.

    `box_xyxy` is in pixels of the frame, whose size is `frame`; `resized` is the size of the exported image,
    and `coordinates` a key of `contract.wordings.COORDINATES`. As in `answer_text`, the result is at least
    one unit wide and high. Raises UserError where no part of the box is inside the frame.
    """
    # A box outside of the frame would become the nearest unit, which is wrong.
    if not is_inside(box_xyxy, frame):
        raise UserError("its box lies outside the frame")
    size = counted_size(coordinates, resized, frame)
    return round_box(rescale(clamp(box_xyxy, frame), frame, size), size)


def plain_expression(expression: str) -> str:
    """The expression, unchanged. Raises UserError where it holds text that a trainer would interpret."""
    if found := CONTROL_TEXT.search(expression):
        raise UserError(f"its expression holds {found[0]}, which the trainer would interpret")
    return expression
