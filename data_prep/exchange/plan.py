"""What an export is: which pairs, in whose form, with boxes that count what."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from data_prep.contract.chat import counted_size
from data_prep.contract.contract import BUILT_IN, Contract, read_contract
from data_prep.files import inside
from data_prep.geometry import Box, Size, clamp, is_inside, rescale, round_box
from data_prep.sampling.lines import PairPlan

LEAST_PIXELS = {28: 56 * 56, 32: 256 * 256}
"""Below it, the published processors of Qwen2.5-VL and of Qwen3-VL enlarge a picture; by a side's divisor."""

MOST_PIXELS = 768 * 768  # above it, LLaMA-Factory shrinks one
STEERING = re.compile(
    r"<\|[^|]*\|>|</?(?:image|video|audio|bbox|ref-object|cot-process|start-image|ref|template|search)>"
)
"""What trainers take for a picture, a box or a control token, wherever it stands in a text."""


@dataclass(frozen=True)
class ExportPlan:
    """What a process needs to write any record of an export; `contract` is one of `safe`."""

    pairs: PairPlan
    form: str
    contract: Contract
    coordinates: str
    fill: bool
    out: Path  # absolute

    def picture(self, number: int, kind: str) -> Path:
        """The file of a pair's `template` or `search`; folders of 1,000 pairs keep listings short."""
        return inside(self.out, f"images/{number // 1000:06d}/{number:09d}-{kind}.jpg")


def contract_of(name: str) -> Contract:
    """A contract by its name, or that of a checkpoint's folder. Raises UserError where neither is there."""
    contract = BUILT_IN.get(name) or read_contract(Path(name))
    if contract is None:
        raise UserError(f"contract={name}: give {', '.join(BUILT_IN)}, or a folder with a contract.json")
    return contract


def safe(contract: Contract) -> Contract:
    """A contract whose pictures no trainer resizes again.

    Their sides are multiples of the contract's; here their pixels come within the limits that ms-swift,
    LLaMA-Factory and transformers have unless they are told otherwise. Raises UserError for a contract whose
    one size of search frames lies beyond them, since its model knows no other, and for one whose sides suit
    neither Qwen2.5-VL nor Qwen3-VL.
    """
    width, height = contract.search_size
    least = LEAST_PIXELS.get(contract.side_multiple)
    if least is None:
        raise UserError(
            f"contract=: its side_multiple of {contract.side_multiple} is no model's; "
            f"give one of {', '.join(map(str, LEAST_PIXELS))}"
        )
    if width and not least <= width * height <= MOST_PIXELS:
        raise UserError(
            f"contract=: its search_size of {width}x{height} is one that trainers resize again; give one of "
            f"{least} to {MOST_PIXELS} pixels"
        )
    search, most, template = (
        min(max(pixels, least), MOST_PIXELS)
        for pixels in (contract.min_pixels, contract.max_pixels, contract.template_pixels)
    )
    return dataclasses.replace(contract, min_pixels=search, max_pixels=most, template_pixels=template)


def check(form: str, contract: Contract, coordinates: str, fill: bool) -> None:
    """Raise UserError for choices that do not go together."""
    if form == "vptracker" and coordinates == "resized":
        raise UserError(
            "format=vptracker: its records point at whole frames; give coordinates=frame or thousand"
        )
    if not fill:
        return
    if form != "swift" or coordinates == "frame":
        raise UserError("fill=true: only ms-swift fills boxes in, resized or in thousandths; leave fill out")
    if contract.separator != ", " or contract.digits:
        raise UserError(
            "fill=true: ms-swift writes plain numbers with ', ' between; give contract=qwen or qwen3"
        )


def counted(box_xyxy: Box, frame: Size, resized: Size, coordinates: str) -> Box:
    """A box in pixels of a frame, its part inside it, in whole units of `coordinates` (of prompts).

    At least one unit wide and high, as in `answer_text`. Raises UserError where no part of it is inside.
    """
    if not is_inside(box_xyxy, frame):
        raise UserError("its box lies outside the frame")
    size = counted_size(coordinates, resized, frame)
    return round_box(rescale(clamp(box_xyxy, frame), frame, size), size)


def plain_expression(expression: str) -> str:
    """Words as they may stand in a record. Raises UserError where a trainer would obey them."""
    if found := STEERING.search(expression):
        raise UserError(f"its words hold {found[0]}, which steers the trainer")
    return expression
