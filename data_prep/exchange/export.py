"""Writing an export: pairs are drawn, rendered and written in parallel, the records last of all."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from configs.errors import UserError
from data_prep.contract.contract import CONTRACT_FILE, write_contract
from data_prep.exchange.forms import INFO, LLAMAFACTORY_INFO, dataset_info, line_of, row_of
from data_prep.exchange.plan import ExportPlan, check
from data_prep.exchange.questions import turn_of
from data_prep.exchange.vptracker import TOKENS, record_of
from data_prep.files import whole_file, write_whole
from data_prep.parallel import in_processes, with_bar
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.pairs import Pair, PairSampler

RECORDS = "refertrack.jsonl"
ABOUT = "export.json"
PART = 16  # pairs that a process takes at a time

LeftOut = tuple[int, str]  # number of a pair, and why it became no record


class Part(NamedTuple):
    """Some records of an export, a line each, and the pairs that became none."""

    lines: list[str]
    left_out: list[LeftOut]


def export(plan: ExportPlan, numbers: range, workers: int = 0) -> tuple[Path, int, list[LeftOut]]:
    """Write the records of pairs; the file, how many it holds, and which pairs were left out and why.

    The same numbers give the same records on any number of processes. Raises UserError where settings do not
    go together, an index is missing, or no pair can be written.
    """
    check(plan.form, plan.contract, plan.coordinates, plan.fill)
    plan.pairs.sampler()  # here, what is wrong is one line; in a process it would be its traceback
    path = plan.out / RECORDS
    # Pictures are named by number: records of an earlier export must not point at the new ones.
    for name in (RECORDS, ABOUT, LLAMAFACTORY_INFO, CONTRACT_FILE):
        (plan.out / name).unlink(missing_ok=True)
    cuts = [numbers[start : start + PART] for start in range(0, len(numbers), PART)]
    parts = in_processes(partial(_part, plan), cuts, workers if len(cuts) > 1 else 1)
    left_out: list[LeftOut] = []
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as sink:
        for part in with_bar(parts, plan.form, len(cuts)):
            sink.writelines(part.lines)
            left_out += part.left_out
        if len(left_out) == len(numbers):
            raise UserError(f"none of {len(numbers)} pairs can be written; the first: {left_out[0][1]}")
    _write_about(plan, left_out)
    return path, len(numbers) - len(left_out), left_out


def _part(plan: ExportPlan, numbers: range) -> Part:
    part = Part([], [])
    for pair in _sampler(plan.pairs).pairs(numbers):
        try:
            row, files = _made(plan, pair)
        except UserError as fault:
            part.left_out.append((pair.number, str(fault)))
            continue
        for path, content in files.items():  # a full disk ends the export, it does not leave pairs out
            write_whole(path, content, durable=False)
        part.lines.append(line_of(row))
    return part


@lru_cache(maxsize=1)
def _sampler(plan: PairPlan) -> PairSampler:
    """Each process opens the indexes once."""
    return plan.sampler()


def _made(plan: ExportPlan, pair: Pair) -> tuple[dict[str, Any], dict[Path, bytes]]:
    """A pair's record, and the pictures that it points at if they are its own."""
    if plan.form == "vptracker":
        return record_of(plan, pair), {}
    turn, files = turn_of(plan, pair)
    return row_of(turn, plan.form), files


def _write_about(plan: ExportPlan, left_out: list[LeftOut]) -> None:
    """What a trainer has to be told besides the records, and what is not among them."""
    if plan.form in INFO:
        write_whole(plan.out / LLAMAFACTORY_INFO, dataset_info(plan.form, RECORDS))
    if plan.form != "vptracker" and plan.coordinates != "frame":  # pixels that no contract of ours counts
        # To lie beside the weights that are trained with it.
        write_contract(plan.out, replace(plan.contract, coordinates=plan.coordinates))
    about = {
        "format": plan.form,
        "coordinates": plan.coordinates,
        "trainer": dict(_told_to(plan)),
        "left_out": [{"pair": number, "reason": reason} for number, reason in left_out],
    }
    write_whole(plan.out / ABOUT, json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def _told_to(plan: ExportPlan) -> Iterator[tuple[str, str]]:
    """Settings of the trainer without which it would read other records than these."""
    if plan.form == "vptracker":
        yield "--remove_unused_columns", "false"
        yield "--new_special_tokens", " ".join(TOKENS)
    elif plan.fill:
        yield "QWENVL_BBOX_FORMAT", "new"
        yield "--norm_bbox", "norm1000" if plan.coordinates == "thousand" else "none"
