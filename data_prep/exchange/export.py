"""Writing an export: pairs are drawn and rendered in parallel, and the file of records is written last."""

import json
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from configs.errors import UserError
from data_prep.contract.contract import CONTRACT_FILE, write_contract
from data_prep.exchange.exporter import Exporter, ExportPlan, exporter_of
from data_prep.files import whole_file, write_whole
from data_prep.parallel import in_processes, with_bar
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.pairs import PairSampler

RECORDS = "refertrack.jsonl"
ABOUT = "export.json"
PART = 16  # pairs that a process takes at a time

LeftOut = tuple[int, str]  # number of a pair, and why it became no record


class Part(NamedTuple):
    """Some records of an export, one line each, and the pairs that became none."""

    lines: list[str]
    left_out: list[LeftOut]


def export(plan: ExportPlan, numbers: range, workers: int = 0) -> tuple[Path, int, list[LeftOut]]:
    """Write the records of pairs.

    Returns the file of records, how many it holds, and which pairs were left out and why. The same numbers
    give the same records on any number of processes. Raises UserError where settings do not suit the format,
    an index is missing, or no pair can be written.
    """
    exporter = exporter_of(plan.form)
    exporter.check(plan)
    plan.pairs.sampler()  # finds mistakes here, as one line; in a worker they would be tracebacks
    path = plan.out / RECORDS
    # 1. Remove the records of an earlier export. Images are named by pair number and will be overwritten, so
    #    the old records would refer to new images.
    for name in (RECORDS, ABOUT, *exporter.side_files(RECORDS), CONTRACT_FILE):
        (plan.out / name).unlink(missing_ok=True)
    # 2. Draw and write, a part of the pairs at a time.
    cuts = [numbers[start : start + PART] for start in range(0, len(numbers), PART)]
    parts = in_processes(partial(_part, plan), cuts, workers if len(cuts) > 1 else 1)
    # The records are written to a temporary file. It replaces the final one only if at least one pair was
    # written.
    left_out: list[LeftOut] = []
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as sink:
        for part in with_bar(parts, plan.form, len(cuts)):
            sink.writelines(part.lines)
            left_out += part.left_out
        if len(left_out) == len(numbers):
            raise UserError(f"none of {len(numbers)} pairs can be written; the first: {left_out[0][1]}")
    # 3. Describe the export.
    _write_about(plan, exporter, left_out)
    return path, len(numbers) - len(left_out), left_out


def _part(plan: ExportPlan, numbers: range) -> Part:
    part = Part([], [])
    exporter = exporter_of(plan.form)
    for pair in _sampler(plan.pairs).pairs(numbers):
        try:
            record = exporter.record(plan, pair)
        except UserError as fault:
            part.left_out.append((pair.number, str(fault)))
            continue
        # Outside of `try`: a full disk ends the export instead of leaving pairs out.
        for path, content in record.files.items():
            write_whole(path, content, durable=False)
        part.lines.append(json.dumps(record.row, ensure_ascii=False) + "\n")
    return part


@lru_cache(maxsize=1)
def _sampler(plan: PairPlan) -> PairSampler:
    """The sampler of a plan; each process opens the indexes once."""
    return plan.sampler()


def _write_about(plan: ExportPlan, exporter: Exporter, left_out: list[LeftOut]) -> None:
    """Write what a trainer needs besides the records, and which pairs are missing among them."""
    for name, text in exporter.side_files(RECORDS).items():
        write_whole(plan.out / name, text)
    # The contract, to be put beside the weights that are trained on the records.
    if exporter.writes_contract:
        write_contract(plan.out, replace(plan.contract, coordinates=plan.coordinates))
    about = {
        "format": plan.form,
        "coordinates": plan.coordinates,
        "trainer": exporter.trainer_settings(plan),
        "left_out": [{"pair": number, "reason": reason} for number, reason in left_out],
    }
    write_whole(plan.out / ABOUT, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
