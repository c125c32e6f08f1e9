"""Fuzzing of the commands: `python -m benchmarks fuzz [--edits 1000]`

1. Small valid inputs (workspaces, results, videos, checkpoints, annotations, a training run) are made once.
2. A seed chooses a target, that is, a set of inputs and the commands that read them. The inputs are copied,
   and one to three files are mutated: bytes flipped, lines cut, values replaced, names mangled.
3. The commands run in a process of their own.
4. Checks (`benchmarks.fuzz.checks`) look for tracebacks, hangs, unclear errors and files written elsewhere.
   An oracle, which shares no code with the commands, says whether the mutated files still mean the same. The
   results must be those of the inputs without the mutation, unless the meaning has changed or the commands
   reported the problem.

A run follows from its seed alone: `--seed N --edits 1` repeats it.
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

from benchmarks.fuzz.checks import (
    Comparison,
    Listing,
    check_exit,
    check_json,
    check_outcome,
    check_output,
    check_results,
    check_written,
    is_reported,
    list_tree,
)
from benchmarks.fuzz.commands import Place
from benchmarks.fuzz.corpus import Corpus
from benchmarks.fuzz.mutations import Mutation, mutate_folder
from benchmarks.fuzz.oracles import Meaning
from benchmarks.fuzz.outcomes import Outcome
from benchmarks.fuzz.targets import KINDS, Target, target_of
from benchmarks.fuzz.worker import CommandResult, import_all, run_commands
from benchmarks.machine import machine
from evaluation.report import plot_style

LIMIT = 180.0  # seconds for the commands of one seed
SHOWN = 12  # last lines of output that are printed with a fault


@dataclass(frozen=True)
class Result:
    """The result of one seed: the mutations, the output of the commands, and the faults that were found."""

    seed: int
    target: Target
    edits: tuple[Mutation, ...]
    ended: CommandResult
    faults: tuple[str, ...]

    def lines(self) -> list[str]:
        """The printed description of its faults."""
        words = ", ".join(map(str, self.edits))
        # `!a` escapes control characters in names and in the output.
        first = f"fault: seed {self.seed}: {self.target.kind}, {self.target.name}: {words!a}"
        output = f"{_end(self.ended.stdout)}{_end(self.ended.stderr)}".splitlines()
        return [first, *(f"    {fault}" for fault in self.faults), *(f"    | {line!a}" for line in output)]


def _end(content: bytes) -> str:
    return "".join(f"{line[:300]}\n" for line in content.decode("utf-8", "replace").splitlines()[-SHOWN:])


@dataclass
class Fuzzer:
    """Runs seeds in folders below `root`. The folders of seeds with faults are kept in `keep`, if given."""

    root: Path
    keep: Path | None = None
    limit: float = LIMIT
    inputs: Corpus = field(init=False)

    def __post_init__(self) -> None:
        (self.root / "inputs").mkdir(parents=True)
        self.inputs = Corpus(self.root / "inputs")
        # The run without a mutation is the same for all seeds of a target.
        self.plain = cache(self._plain)

    def run(self, seed: int) -> Result:
        """Mutate, run and check what a seed chooses."""
        rng, target = random.Random(seed), target_of(seed)
        # First, since it uses the same folder as the seed.
        plain, outcome = self.plain(target)
        place = self._place(target)
        # 1. Mutate. The state of all folders is listed before the commands run.
        before = _contents(target, place)
        edits = mutate_folder(
            rng, place.input, [place.input / path for path in before], place.root / "outside"
        )
        held, shared = list_tree(place.root), list_tree(self.inputs.root)
        # 2. Run, and check what holds for any input.
        ended = self._ended(target, place)
        faults = [
            *check_exit(ended),
            *check_output(ended),
            *_only_allowed(target, held, list_tree(place.root)),
            *check_written(shared, list_tree(self.inputs.root), ()),
            *check_json(place.out),
            *check_results(place.root),
        ]
        # 3. Compare the results with those of the inputs without a mutation.
        if not faults:
            reported = is_reported(ended, plain)
            faults += check_outcome(_compared(target, place, before, edits, outcome, reported))
        self._clear(place, seed, edits, faults)
        return Result(seed, target, tuple(edits), ended, tuple(faults))

    def _plain(self, target: Target) -> tuple[CommandResult, Outcome]:
        """The output and the outcome of a target without a mutation. Must be free of faults."""
        place = self._place(target)
        held = list_tree(place.root)
        ended = self._ended(target, place)
        faults = [
            *check_exit(ended),
            *check_output(ended),
            *_only_allowed(target, held, list_tree(place.root)),
        ]
        outcome = target.outcome(place)
        if faults or ended.status != 0:
            raise SystemExit(f"{target.name}: faults without an edit: {faults}\n{_end(ended.stderr)}")
        shutil.rmtree(place.root)
        return ended, outcome

    def _place(self, target: Target) -> Place:
        """Copy the inputs of a target, always into the same folder: output and results contain its path."""
        place = Place(self.root / "edit", self.inputs)
        # The working folder and the folder for temporary files are listed too: nothing may stay there.
        for folder in ("cwd", "tmp"):
            (place.root / folder).mkdir(parents=True)
        for source in target.sources:
            shutil.copytree(self.inputs / source, place.input / source)
        target.commands(place)  # makes shared inputs, outside of the folder that is listed
        return place

    def _ended(self, target: Target, place: Place) -> CommandResult:
        return run_commands(target.commands(place), place.root / "cwd", place.root / "log", self.limit)

    def _clear(self, place: Place, seed: int, edits: Sequence[Mutation], faults: Sequence[str]) -> None:
        """Copy the folder to `keep` if there are faults, and remove it."""
        if faults and self.keep is not None:
            kept = self.keep / f"edit-{seed}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(place.root, kept, symlinks=True)
            record = {"seed": seed, "edits": [repr(edit) for edit in edits], "faults": list(faults)}
            (kept / "fault.json").write_text(json.dumps(record, indent=1))
        shutil.rmtree(place.root)


def _contents(target: Target, place: Place) -> dict[str, bytes]:
    """The contents of the files that may be mutated, by their paths below `input`."""
    paths = (path for path in sorted(place.input.rglob("*")) if path.is_file())
    names = {str(path.relative_to(place.input)): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if target.oracle(name)}


def _only_allowed(target: Target, before: Listing, after: Listing) -> Iterator[str]:
    written = ("out", "out/*", "log", "log/*", *(f"input/{pattern}" for pattern in target.written))
    return check_written(before, after, written)


def _compared(
    target: Target,
    place: Place,
    before: dict[str, bytes],
    edits: Sequence[Mutation],
    plain: Outcome,
    reported: bool,
) -> Comparison:
    """The outcome beside the one without mutations, with the meaning of the mutated files."""
    meanings = {_meaning(target, name, content, place.input / name) for name, content in before.items()}
    # A mutation outside of the independent folders may affect all of them.
    parts = {target.part(name) for edit in edits for name in edit.files}
    return Comparison(
        plain,
        target.outcome(place),
        # The most permissive meaning decides: with one file of other content, results may differ.
        next(each for each in (Meaning.OTHER, Meaning.WRONG, Meaning.SAME) if each in meanings),
        frozenset(map(str, parts)) if target.apart and None not in parts else None,
        reported,
    )


def _meaning(target: Target, name: str, before: bytes, path: Path) -> Meaning:
    oracle = target.oracle(name)
    assert oracle is not None
    try:
        after = path.read_bytes()
    except OSError:
        after = None
    return Meaning.SAME if after == before else oracle(before, after)


def main(arguments: Sequence[str]) -> int:
    """Run the seeds, and print faults and a final JSON object. The status is 1 if there are faults."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fuzz", description=__doc__)
    parser.add_argument("--edits", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed; the others follow it")
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS, help="run only seeds of these kinds"
    )
    parser.add_argument("--keep", type=Path, help="folder for the inputs of seeds with faults")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for the commands of one seed")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    import_all()
    setattr(plot_style, "FORMATS", ("png", "svg"))  # noqa: B010  # PDF takes as long as both together
    started, done = time.monotonic(), Counter[str]()
    faulty: list[int] = []
    with tempfile.TemporaryDirectory() as root:
        fuzzer = Fuzzer(Path(root) / "fuzz", asked.keep, asked.limit)
        # Seeds of other kinds are skipped and not renumbered, so that a seed always means the same.
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
