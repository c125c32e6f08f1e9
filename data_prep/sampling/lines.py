"""Pairs as JSON lines: the same bytes on any number of processes, and from any place on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from data_prep.files import whole_file
from data_prep.geometry import Box
from data_prep.index.store import Index
from data_prep.parallel import in_processes
from data_prep.sampling.pairs import BLOCK, Pair, PairSampler
from data_prep.sampling.settings import PairSettings

DECIMALS = 2  # of a box's numbers, in pixels, and of widths


@dataclass(frozen=True)
class PairPlan:
    """Which pairs: what a process needs to draw any of them."""

    indexes: tuple[Path, ...]
    settings: PairSettings
    seed: int
    weights: tuple[float, ...] = ()

    def sampler(self) -> PairSampler:
        """Open the indexes. Raises UserError as `Index` and `PairSampler` do."""
        return PairSampler([Index(path) for path in self.indexes], self.settings, self.seed, self.weights)


def pair_lines(plan: PairPlan, numbers: range, workers: int = 1) -> Iterator[bytes]:
    """The lines of pairs, many at a time; `workers` processes draw them (0: one a core)."""
    cuts = range(numbers.start - numbers.start % BLOCK, numbers.stop, BLOCK)
    blocks = [range(max(numbers.start, cut), min(numbers.stop, cut + BLOCK)) for cut in cuts]
    yield from in_processes(partial(_lines, plan), blocks, workers if len(blocks) > 1 else 1)


def write_pairs(path: Path, plan: PairPlan, numbers: range, workers: int = 1) -> None:
    """Write the lines of pairs, whole or not at all. Raises UserError as `PairPlan.sampler` does."""
    plan.sampler()  # here, what is wrong is one line; in a process it would be its traceback
    with whole_file(path) as temporary, temporary.open("wb") as sink:
        for lines in pair_lines(plan, numbers, workers):
            sink.write(lines)


@lru_cache(maxsize=1)
def _sampler(plan: PairPlan) -> PairSampler:
    """Each process opens the indexes once."""
    return plan.sampler()


def _lines(plan: PairPlan, numbers: range) -> bytes:
    return "".join(map(pair_line, _sampler(plan).pairs(numbers))).encode()


def pair_line(pair: Pair) -> str:
    """A pair as a line of JSON."""
    record: dict[str, Any] = {
        "number": pair.number,
        "data": pair.data,
        "sequence": pair.sequence,
        "expression": pair.expression,
        "template": {"image": pair.template, "bbox_xywh": _rounded(pair.template_xywh)}
        if pair.templated
        else None,
        "search": {
            "image": pair.search,
            "visible": pair.visible,
            "bbox_xywh": None if pair.search_xywh is None else _rounded(pair.search_xywh),
        },
        "visual_prompt": {
            "bbox_xyxy": _rounded(pair.visual_prompt_xyxy),
            "holds": pair.holds,
            "colour_rgb": pair.visual_prompt_colour,
            "width": round(pair.visual_prompt_width, DECIMALS),
        }
        if pair.marked
        else None,
        "negative": pair.negative,
    }
    return json.dumps(record, ensure_ascii=False) + "\n"


def _rounded(box: Box) -> list[float]:
    return [round(side, DECIMALS) for side in box]
