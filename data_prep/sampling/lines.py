"""Pairs as JSON lines. The bytes do not depend on the number of processes or on the first pair."""

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

DECIMALS = 2  # of the numbers of a box, in pixels, and of line widths


@dataclass(frozen=True)
class PairPlan:
    """What a process needs to draw any pair: indexes, settings, seed and weights (empty: equal)."""

    indexes: tuple[Path, ...]
    settings: PairSettings
    seed: int
    weights: tuple[float, ...] = ()

    def sampler(self) -> PairSampler:
        """Open the indexes. Raises UserError as `Index` and `PairSampler` do."""
        return PairSampler([Index(path) for path in self.indexes], self.settings, self.seed, self.weights)


def pair_lines(plan: PairPlan, numbers: range, workers: int = 1) -> Iterator[bytes]:
    """The lines of pairs, a block at a time; `workers` processes draw them (0: one for each core)."""
    # Whole blocks, so that no two processes draw the random numbers of the same block.
    # The first and the last block may be incomplete.
    cuts = range(numbers.start - numbers.start % BLOCK, numbers.stop, BLOCK)
    blocks = [range(max(numbers.start, cut), min(numbers.stop, cut + BLOCK)) for cut in cuts]
    yield from in_processes(partial(_lines, plan), blocks, workers if len(blocks) > 1 else 1)


def write_pairs(path: Path, plan: PairPlan, numbers: range, workers: int = 1) -> None:
    """Write the lines of pairs, completely or not at all. Raises UserError as `PairPlan.sampler` does."""
    plan.sampler()  # finds mistakes here, as one line; in a worker they would be tracebacks
    with whole_file(path) as temporary, temporary.open("wb") as sink:
        for lines in pair_lines(plan, numbers, workers):
            sink.write(lines)


@lru_cache(maxsize=1)
def _sampler(plan: PairPlan) -> PairSampler:
    """The sampler of a plan; each process opens the indexes once."""
    return plan.sampler()


def _lines(plan: PairPlan, numbers: range) -> bytes:
    return "".join(map(pair_line, _sampler(plan).pairs(numbers))).encode()


def pair_line(pair: Pair) -> str:
    """A pair as a line of JSON, with boxes in pixels of the frames.

    `template` and `visual_prompt` are null where the pair does not show them.
    """
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
