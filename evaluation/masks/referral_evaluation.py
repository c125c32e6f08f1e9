"""Trackers of a VOTSr workspace: their results, and the figures of the referral challenge."""

from collections.abc import Sequence as Names
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import real_path
from data_prep.sequence import Sequence
from data_prep.votsr.regions import is_shape
from data_prep.votsr.results import EXPERIMENT, read_lines, result_path
from data_prep.votsr.truth import Truth
from data_prep.votsr.workspace import Workspace, read_workspace
from evaluation.absence import FOUND, absence_scores
from evaluation.masks.referral import Pairs, Result, score_pairs
from evaluation.protocols.votsr import CURVE, MEASURES, SIMILARITY, THRESHOLDS, TOOLKIT
from evaluation.scores import Benchmark, Evaluation, TrackerScores
from evaluation.votsr import toolkit_accuracy, truths_of


@dataclass(frozen=True, eq=False)
class SequencePairs:
    """A sequence's pairs for all trackers, whose rows stand tracker by tracker, and how long it is."""

    pairs: Pairs
    num_prompts: int
    num_frames: int

    def of(self, tracker: int) -> Pairs:
        """The pairs of one tracker, by its place."""
        return self.pairs.of(slice(tracker * self.num_prompts, (tracker + 1) * self.num_prompts))


def tracker_scores(scored: list[SequencePairs], tracker: int, name: str) -> TrackerScores:
    """A tracker's figures, all but the toolkit's."""
    parts = [each.of(tracker) for each in scored]
    by_sequence = [_pooled_figures([part]) for part in parts]
    similarity = np.array([figures[SIMILARITY.key] for figures in by_sequence])
    overall = _pooled_figures(parts)
    weights = [each.num_frames for each in scored]
    overall[SIMILARITY.key] = float(np.average(similarity, weights=weights))
    return TrackerScores(
        name,
        overall,
        {key: np.array([figures[key] for figures in by_sequence]) for key in overall},
        {CURVE.key: np.stack([_success(part) for part in parts])},
        np.concatenate([part.scores.ravel() for part in parts]).astype(np.float32),
    )


def _pooled_figures(parts: list[Pairs]) -> dict[str, float]:
    """Figures in percent over the pairs of some sequences, every pair alike; a row is a run of frames."""
    shown = np.concatenate([part.scores[:, part.annotated & ~part.absent].ravel() for part in parts])
    every = np.concatenate([part.scores[:, part.annotated].ravel() for part in parts])
    rows = [len(part.absent) for part in parts for _ in part.scores]
    scores, said = (
        np.concatenate([getattr(part, name).ravel() for part in parts]) for name in ("scores", "said_absent")
    )
    absent = np.concatenate([np.tile(part.absent, len(part.scores)) for part in parts])
    overall, _ = absence_scores(np.cumsum([0, *rows]), absent, said, scores >= FOUND, ~np.isnan(scores))
    present = 100 * float(shown.mean()) if shown.size else np.nan
    return {SIMILARITY.key: 100 * float(every.mean()), "iou_present": present, **overall}


def _success(part: Pairs) -> np.ndarray:
    """The share of a sequence's pairs in percent, float64 (T,), that score more than each threshold."""
    scores = part.scores[:, part.annotated].ravel()
    share: np.ndarray = 100 * (scores[:, None] > THRESHOLDS).mean(axis=0)
    return share


AGREE = 1e-9
Truths = list[tuple[Sequence, Truth]]
Results = dict[tuple[str, str], list[Result]]  # by tracker and sequence, one a prompt


def evaluate_workspace(
    root: Path, trackers: Names[str] = (), missing: str = "error", with_toolkit: bool = True
) -> Evaluation:
    """Score trackers (all that have results, if none is named) of the workspace `root`.

    With `missing="count"` every pair of a result that is missing or too short scores 0, and it is noted.
    The toolkit's own number takes some seconds a tracker; it is NaN where results are missing or too long,
    and left out without `with_toolkit`. Raises UserError, a line each, where results are missing or too
    short, where one is broken, or nothing can be scored.
    """
    workspace = read_workspace(root, check_frames=False)
    truths, without = truths_of(workspace)
    if not truths:
        raise UserError(f"{root}: no sequence has an annotated frame; score a workspace with its truth")
    names = tuple(trackers) or trackers_in(root)
    results, lacks, too_long = _read_results(workspace, truths, names)
    if missing == "error" and (told := [line for lines in lacks.values() for line in lines]):
        raise UserError("\n".join(f"{line}; track this prompt again, or give missing=count" for line in told))
    notes = [*workspace.warnings, *(problem.reason for problem in workspace.problems)]
    notes += [f"{name}: no annotated frame; it is not scored" for name in without]
    notes += [note for _, truth in truths for note in truth.notes]
    notes += _no_masks(results)
    notes += [f"{line}; its pairs score 0" for lines in lacks.values() for line in lines]
    notes += [f"{line}; the rest is cut" for lines in too_long.values() for line in lines]
    scored = [_scored(sequence, truth, results, names) for sequence, truth in truths]
    found = [tracker_scores(scored, number, name) for number, name in enumerate(names)]
    lengths = [each.num_prompts * each.pairs.scores.shape[1] for each in scored]
    sequences = tuple(sequence.name for sequence, _ in truths)
    measures, told = MEASURES, []
    if with_toolkit:
        unfit = {name for name in names if lacks[name] or too_long[name]}
        found, told = _beside_toolkit(root, sequences, found, unfit)
    else:
        measures = replace(MEASURES, metrics=tuple(each for each in MEASURES.metrics if each is not TOOLKIT))
    best_first = sorted(found, key=lambda each: -each.overall[SIMILARITY.key])
    weights = np.array([each.num_frames for each in scored], np.float64)
    benchmark = Benchmark(real_path(root).name, sequences, np.cumsum([0, *lengths]), weights=weights)
    return Evaluation(measures, benchmark, tuple(best_first), (*notes, *told))


def trackers_in(root: Path) -> tuple[str, ...]:
    """The trackers with results in a workspace, by name. Raises UserError where there are none."""
    found = sorted(path.parent.name for path in (root / "results").glob(f"*/{EXPERIMENT}") if path.is_dir())
    if not found:
        raise UserError(f"{root / 'results'}: holds no <tracker>/{EXPERIMENT}; track the workspace first")
    return tuple(found)


def _read_results(
    workspace: Workspace, truths: Truths, names: Names[str]
) -> tuple[Results, dict[str, list[str]], dict[str, list[str]]]:
    """All results, and by tracker what of them is missing or too short, and what too long.

    Raises UserError where there is no such tracker or a file cannot be read.
    """
    known = trackers_in(workspace.root)
    results: Results = {}
    lacks: dict[str, list[str]] = {name: [] for name in names}
    too_long: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        if name not in known:
            raise UserError(f"{workspace.root / 'results'}: no tracker {name!r}, but {', '.join(known)}")
        for sequence, _ in truths:
            rows = results[name, sequence.name] = []
            for prompt in sequence.expressions:
                path = result_path(workspace.root, name, sequence.name, prompt)
                lines = read_lines(path) if path.is_file() else None
                wanted, count = len(sequence.frames), -1 if lines is None else len(lines)
                fault = (
                    "no such result"
                    if lines is None
                    else f"{counted(count, 'line')} for {counted(wanted, 'frame')}"
                )
                if count != wanted:
                    (lacks if count < wanted else too_long)[name].append(f"{path}: {fault}")
                rows.append(Result(str(path), lines[:wanted] if lines and count >= wanted else None))
    return results, lacks, too_long


def _no_masks(results: Results) -> list[str]:
    """A note for each result with lines that are a rectangle or polygon: the toolkit takes them for empty."""
    notes = []
    for rows in results.values():
        for row in rows:
            shapes = [number for number, line in enumerate(row.lines or (), 1) if is_shape(line)]
            if shapes:
                told = f"line {shapes[0]} is a rectangle or polygon ({len(shapes)} in all)"
                apart = "they count as absence, as for `vot analysis`; write masks"
                notes.append(f"{row.name}: {told}; {apart}")
    return notes


def _scored(sequence: Sequence, truth: Truth, results: Results, names: Names[str]) -> SequencePairs:
    rows = [row for name in names for row in results[name, sequence.name]]
    return SequencePairs(score_pairs(truth, rows), len(sequence.expressions), len(sequence.frames))


def _beside_toolkit(
    root: Path, sequences: Names[str], found: list[TrackerScores], unfit: set[str]
) -> tuple[list[TrackerScores], list[str]]:
    """The same with the toolkit's number, and notes where there is none or it is another than ours."""
    told, notes = [], []
    for each in found:
        theirs, parts = np.nan, np.full(len(sequences), np.nan)
        if each.tracker in unfit:
            notes.append(f"{each.tracker}: vot analysis was not run, since results have not a line a frame")
        else:
            figures = toolkit_accuracy(root, each.tracker)
            theirs = 100 * figures["accuracy"]
            parts = 100 * np.array([figures["sequences"][name] for name in sequences])
            if abs(theirs - each.overall[SIMILARITY.key]) > 100 * AGREE:
                notes.append(f"{each.tracker}: vot analysis gives {theirs!r}, another number than is counted")
        overall = each.overall | {TOOLKIT.key: theirs}
        told.append(replace(each, overall=overall, by_sequence=each.by_sequence | {TOOLKIT.key: parts}))
    return told, notes
