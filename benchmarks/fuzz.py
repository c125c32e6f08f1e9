"""Do the commands stand whatever files they are given? `python -m benchmarks fuzz [--edits 1000]`

Small valid inputs (workspaces, results, videos, checkpoints, annotations, a run of fine-tuning) are made
once. An edit copies some of them, changes one file or a few (bytes flipped, lines cut, values exchanged,
names mangled) and runs the commands that read them, in a process of their own. What must then hold stands in
`benchmarks/fuzz_checks.py`: no traceback, no hang, one line for an error, nothing written elsewhere, and
results that are those without the edit unless the edit means something else or is told of. An edit follows
from its seed alone: `--seed N --edits 1` does it again.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch

from benchmarks.fuzz_checks import (
    Compared,
    Held,
    ended_well,
    held_in,
    is_told,
    nothing_else_written,
    nothing_wrong,
    said_plainly,
    whole_json,
    whole_lines,
)
from benchmarks.fuzz_commands import Place
from benchmarks.fuzz_edits import Edit, edit_folder
from benchmarks.fuzz_inputs import Inputs
from benchmarks.fuzz_judges import Meaning
from benchmarks.fuzz_outcomes import Outcome
from benchmarks.fuzz_targets import KINDS, Target, target_of
from benchmarks.fuzz_worker import Ended, import_all, run_commands
from benchmarks.machine import machine
from evaluation.report import plot_style

LIMIT = 180.0  # seconds of an edit
SHOWN = 12  # lines of output that are shown of a fault


@dataclass(frozen=True)
class Done:
    """One edit: what was changed, what came of it, and the faults that were seen."""

    seed: int
    target: Target
    edits: tuple[Edit, ...]
    ended: Ended
    faults: tuple[str, ...]

    def lines(self) -> list[str]:
        """What is told of its faults."""
        words = ", ".join(map(str, self.edits))
        first = f"fault: seed {self.seed}: {self.target.kind}, {self.target.name}: {words!a}"
        output = f"{_end(self.ended.stdout)}{_end(self.ended.stderr)}".splitlines()
        return [first, *(f"    {fault}" for fault in self.faults), *(f"    | {line!a}" for line in output)]


def _end(content: bytes) -> str:
    return "".join(f"{line[:300]}\n" for line in content.decode("utf-8", "replace").splitlines()[-SHOWN:])


@dataclass
class Fuzzer:
    """Edits below `root`; folders of those with faults are kept in `keep`, if it is given."""

    root: Path
    keep: Path | None = None
    limit: float = LIMIT
    inputs: Inputs = field(init=False)

    def __post_init__(self) -> None:
        (self.root / "inputs").mkdir(parents=True)
        self.inputs = Inputs(self.root / "inputs")
        self.plain = cache(self._plain)

    def run(self, seed: int) -> Done:
        """Do the edit of a seed."""
        rng, target = random.Random(seed), target_of(seed)
        plain, outcome = self.plain(target)
        place = self._place(target)
        before = _contents(target, place)
        edits = edit_folder(rng, place.input, [place.input / path for path in before], place.root / "outside")
        held, shared = held_in(place.root), held_in(self.inputs.root)
        ended = self._ended(target, place)
        faults = [
            *ended_well(ended),
            *said_plainly(ended),
            *_only_allowed(target, held, held_in(place.root)),
            *nothing_else_written(shared, held_in(self.inputs.root), ()),
            *whole_json(place.out),
            *whole_lines(place.root),
        ]
        if not faults:
            told = is_told(ended, plain)
            faults += nothing_wrong(_compared(target, place, before, edits, outcome, told))
        self._clear(place, seed, edits, faults)
        return Done(seed, target, tuple(edits), ended, tuple(faults))

    def _plain(self, target: Target) -> tuple[Ended, Outcome]:
        """What comes of a target that is not edited: no fault, and an outcome."""
        place = self._place(target)
        held = held_in(place.root)
        ended = self._ended(target, place)
        faults = [*ended_well(ended), *said_plainly(ended), *_only_allowed(target, held, held_in(place.root))]
        outcome = target.outcome(place)
        if faults or ended.status != 0:
            raise SystemExit(f"{target.name}: faults without an edit: {faults}\n{_end(ended.stderr)}")
        shutil.rmtree(place.root)
        return ended, outcome

    def _place(self, target: Target) -> Place:
        """The same folder each time, since what commands say and write names it."""
        place = Place(self.root / "edit", self.inputs)
        for folder in ("cwd", "tmp"):
            (place.root / folder).mkdir(parents=True)
        for source in target.sources:
            shutil.copytree(self.inputs / source, place.input / source)
        target.commands(place)  # makes the inputs that they read in place
        return place

    def _ended(self, target: Target, place: Place) -> Ended:
        return run_commands(target.commands(place), place.root / "cwd", place.root / "log", self.limit)

    def _clear(self, place: Place, seed: int, edits: Sequence[Edit], faults: Sequence[str]) -> None:
        """Keep a place with faults where that is wanted, and remove it."""
        if faults and self.keep is not None:
            kept = self.keep / f"edit-{seed}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(place.root, kept, symlinks=True)
            told = {"seed": seed, "edits": [repr(edit) for edit in edits], "faults": list(faults)}
            (kept / "fault.json").write_text(json.dumps(told, indent=1))
        shutil.rmtree(place.root)


def _contents(target: Target, place: Place) -> dict[str, bytes]:
    """The files that may be edited, by their paths below the place's input."""
    paths = (path for path in sorted(place.input.rglob("*")) if path.is_file())
    names = {str(path.relative_to(place.input)): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if target.judge(name)}


def _only_allowed(target: Target, before: Held, after: Held) -> Iterator[str]:
    written = ("out", "out/*", "log", "log/*", *(f"input/{pattern}" for pattern in target.written))
    return nothing_else_written(before, after, written)


def _compared(
    target: Target, place: Place, before: dict[str, bytes], edits: Sequence[Edit], plain: Outcome, told: bool
) -> Compared:
    """The outcome beside the plain one, with what the changed files mean now."""
    meanings = {_meaning(target, name, content, place.input / name) for name, content in before.items()}
    parts = {target.part(name) for edit in edits for name in edit.files}
    return Compared(
        plain,
        target.outcome(place),
        next(each for each in (Meaning.OTHER, Meaning.WRONG, Meaning.SAME) if each in meanings),
        frozenset(map(str, parts)) if target.apart and None not in parts else None,
        told,
    )


def _meaning(target: Target, name: str, before: bytes, path: Path) -> Meaning:
    judge = target.judge(name)
    assert judge is not None
    try:
        after = path.read_bytes()
    except OSError:
        after = None
    return Meaning.SAME if after == before else judge(before, after)


def main(arguments: Sequence[str]) -> int:
    """Do the edits, print their faults, and one JSON object as the last line; 1 where there are faults."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fuzz", description=__doc__)
    parser.add_argument("--edits", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first edit; the others count on from it")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="pass over other seeds")
    parser.add_argument("--keep", type=Path, help="folder in which edits with faults are kept")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds that an edit's commands may take")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    import_all()
    setattr(plot_style, "FORMATS", ("png", "svg"))  # noqa: B010  # pdf takes as long as both
    started, done = time.monotonic(), Counter[str]()
    faulty: list[int] = []
    with tempfile.TemporaryDirectory() as root:
        fuzzer = Fuzzer(Path(root) / "fuzz", asked.keep, asked.limit)
        seed = asked.seed
        while done.total() < asked.edits:
            if target_of(seed).kind in asked.kinds:
                result = fuzzer.run(seed)
                done[result.target.kind] += 1
                faulty += [seed] * bool(result.faults)
                print("\n".join(result.lines()) if result.faults else ".", end="\n" if result.faults else "")
                sys.stdout.flush()
            seed += 1
    seconds = time.monotonic() - started
    report = {
        "benchmark": "fuzz",
        "ratio": round((done.total() - len(faulty)) / max(1, done.total()), 4),
        "ours": done.total() - len(faulty),
        "theirs": done.total(),
        "unit": "edits without a fault, of those made",
        "faulty": faulty,
        "kinds": dict(done),
        "seconds": round(seconds),
        "machine": machine(),
    }
    print(f"\n{json.dumps(report)}")
    return int(bool(faulty))
