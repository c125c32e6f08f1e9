"""What a check found: a table for a person, `check.json` for a program, `leave_out.txt` for task=index."""

import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from configs.terminal import LONGEST, counted
from data_prep.check.findings import BROKEN, KINDS, Finding
from data_prep.check.run import Checked
from data_prep.console import make_console
from data_prep.files import write_whole
from data_prep.one_line import one_line

REPORT, LEAVE_OUT = "check.json", "leave_out.txt"
SHOWN = 3  # lines of each kind that a person is shown
STYLES = {BROKEN: "red"}


def write_report(folder: Path, checked: Checked) -> None:
    """Write all findings, and the names of the broken sequences, a line each, also where there are none."""
    write_whole(folder / LEAVE_OUT, "".join(f"{name}\n" for name in checked.broken))
    write_whole(folder / REPORT, json.dumps(report_of(checked), ensure_ascii=False, indent=1) + "\n")


def report_of(checked: Checked) -> dict[str, Any]:
    """What `check.json` holds: of what it is, how it was checked, counts by kind, every finding."""
    return {
        "data": checked.data,
        "split": checked.split,
        "root": str(checked.root),
        "settings": asdict(checked.settings),
        "sequences": checked.sequences,
        "broken": checked.broken,
        "counts": {kind: len(found) for kind, found in _by_kind(checked).items()},
        "findings": [asdict(each) | {"severity": each.severity} for each in checked.findings],
    }


def _by_kind(checked: Checked) -> dict[str, list[Finding]]:
    """The findings of each kind that was found, in the order of `KINDS`."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in checked.findings:
        found[finding.kind].append(finding)
    return {kind: found[kind] for kind in KINDS if kind in found}


def print_report(checked: Checked, console: Console | None = None) -> None:
    """Print counts by kind, and the first few lines of each."""
    console = console or make_console()
    by_kind = _by_kind(checked)
    if not by_kind:
        console.print(
            f"{checked.data} {checked.split}: nothing found in {counted(checked.sequences, 'sequence')}"
        )
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in ("found", "", "kind", "meaning"):
        table.add_column(column, justify="right" if column == "found" else "left")
    for kind, found in by_kind.items():
        severity = KINDS[kind].severity
        table.add_row(
            str(len(found)), Text(severity, STYLES.get(severity, "yellow")), kind, KINDS[kind].meaning
        )
    console.print(table)
    for kind, found in by_kind.items():
        console.line()
        for finding in found[:SHOWN]:
            _line(console, f"{kind}: {finding.sequence or 'the whole split'}: {finding.line}{_more(finding)}")
        if len(found) > SHOWN:
            _line(console, f"{kind}: {len(found) - SHOWN} more, all in {REPORT}")


def _more(finding: Finding) -> str:
    return f" (the first of {finding.count})" if finding.count > 1 and finding.sequence else ""


def _line(console: Console, words: str) -> None:
    """A line that is never cut nor broken by us: a terminal wraps it, a file keeps it whole."""
    console.print(Text(one_line(words, LONGEST)), soft_wrap=True)
