"""Evaluation on a VOTSr workspace: the results of trackers, and the metrics of the referral challenge."""

from collections.abc import Sequence as Names
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import check_utf8, real_path
from data_prep.sequence import Sequence
from data_prep.votsr.regions import is_shape
from data_prep.votsr.results import EXPERIMENT, read_lines, result_path
from data_prep.votsr.truth import Truth
from data_prep.votsr.workspace import Workspace, read_workspace
from evaluation.absence import FOUND_IOU, absence_scores
from evaluation.masks.referral import Pairs, Result, score_pairs
from evaluation.protocols.votsr import CURVE, MEASURES, SIMILARITY, THRESHOLDS, TOOLKIT
from evaluation.scores import Benchmark, Evaluation, TrackerScores
from evaluation.votsr import toolkit_accuracy, truths_of


@dataclass(frozen=True, eq=False)
class SequencePairs:
    """The pairs of a sequence for all trackers; the rows of one tracker (one for each prompt) are
    consecutive.

    `missing` says of each row whether its result is missing, bool (R,).
    """

    pairs: Pairs
    num_prompts: int
    num_frames: int
    missing: np.ndarray

    def of(self, tracker: int) -> Pairs:
        """The pairs of tracker number `tracker`."""
        return self.pairs.of(self.rows_of(tracker))

    def rows_of(self, tracker: int) -> slice:
        """The rows of tracker number `tracker`."""
        return slice(tracker * self.num_prompts, (tracker + 1) * self.num_prompts)


def tracker_scores(scored: list[SequencePairs], tracker: int, name: str) -> TrackerScores:
    """The metrics of tracker number `tracker` but for the toolkit's own, in percent."""
    parts = [each.of(tracker) for each in scored]
    # Metrics are over all pairs alike, but for region similarity: it is the mean over sequences, weighted by
    # their numbers of frames.
    by_sequence = [_pooled_metrics([part]) for part in parts]
    similarity = np.array([values[SIMILARITY.key] for values in by_sequence])
    overall = _pooled_metrics(parts)
    weights = [each.num_frames for each in scored]
    overall[SIMILARITY.key] = float(np.average(similarity, weights=weights))
    return TrackerScores(
        name,
        overall,
        {key: np.array([values[key] for values in by_sequence]) for key in overall},
        {CURVE.key: np.stack([_success(part) for part in parts])},
        np.concatenate([part.scores.ravel() for part in parts]).astype(np.float32),
    )


def _pooled_metrics(parts: list[Pairs]) -> dict[str, float]:
    """Metrics over the pairs of some sequences, each pair with equal weight, in percent.

    For losses, each prompt of each sequence counts as a sequence of frames of its own.
    """
    present_scores = np.concatenate([part.scores[:, part.annotated & ~part.absent].ravel() for part in parts])
    all_scores = np.concatenate([part.scores[:, part.annotated].ravel() for part in parts])
    # (R, T) of each sequence -> one array of all pairs, prompt after prompt: `ravel` is row-major, and `tile`
    # repeats the flags in the same order.
    rows = [len(part.absent) for part in parts for _ in part.scores]
    scores, predicted_absent = (
        np.concatenate([getattr(part, name).ravel() for part in parts])
        for name in ("scores", "predicted_absent")
    )
    absent = np.concatenate([np.tile(part.absent, len(part.scores)) for part in parts])
    overall, _ = absence_scores(
        np.cumsum([0, *rows]), absent, predicted_absent, scores >= FOUND_IOU, ~np.isnan(scores)
    )
    present = 100 * float(present_scores.mean()) if present_scores.size else np.nan
    return {SIMILARITY.key: 100 * float(all_scores.mean()), "iou_present": present, **overall}


def _success(part: Pairs) -> np.ndarray:
    """The percentage of a sequence's pairs with a score above each threshold, float64 (T,)."""
    scores = part.scores[:, part.annotated].ravel()
    share: np.ndarray = 100 * (scores[:, None] > THRESHOLDS).mean(axis=0)
    return share


AGREE = 1e-9  # largest difference between our number and the toolkit's
Truths = list[tuple[Sequence, Truth]]
Results = dict[tuple[str, str], list[Result]]  # by tracker and sequence, one for each prompt


@dataclass(frozen=True, eq=False)
class ScoredWorkspace:
    """A workspace with the pairs of all its sequences with ground truth, and of these trackers.

    `unfit` are the trackers of which some result does not have one line for each frame. `notes` are remarks
    on the files, one line each.
    """

    workspace: Workspace
    truths: Truths
    trackers: tuple[str, ...]
    sequences: list[SequencePairs]
    unfit: set[str]
    notes: list[str]

    @property
    def weights(self) -> np.ndarray:
        """The weights of sequences in the score: their numbers of frames, float64 (S,)."""
        return np.array([each.num_frames for each in self.sequences], np.float64)


def score_workspace(root: Path, trackers: Names[str] = (), missing: str = "error") -> ScoredWorkspace:
    """Read a workspace and score the pairs of these trackers; by default of all that have results.

    `missing` and the errors are those of `evaluate_workspace`.
    """
    # 1. Read the workspace and the results; collect everything that is worth a note.
    workspace = read_workspace(root, check_frames=False)
    truths, without = truths_of(workspace)
    if not truths:
        raise UserError(f"{root}: no sequence has an annotated frame; score a workspace with its truth")
    names = tuple(trackers) or trackers_in(root)
    for name in names:
        check_utf8(real_path(root) / "results" / name)
    results, lacking, too_long = _read_results(workspace, truths, names)
    if missing == "error" and (faults := [line for lines in lacking.values() for line in lines]):
        raise UserError(
            "\n".join(f"{line}; track this prompt again, or give missing=count" for line in faults)
        )
    notes = [*workspace.warnings, *(problem.reason for problem in workspace.problems)]
    notes += [f"{name}: no annotated frame; it is not scored" for name in without]
    notes += [note for _, truth in truths for note in truth.notes]
    notes += _no_masks(results)
    notes += [f"{line}; its pairs score 0" for lines in lacking.values() for line in lines]
    notes += [f"{line}; the rest is cut" for lines in too_long.values() for line in lines]
    # 2. Score the pairs of each sequence.
    scored = [_scored(sequence, truth, results, names) for sequence, truth in truths]
    unfit = {name for name in names if lacking[name] or too_long[name]}
    return ScoredWorkspace(workspace, truths, names, scored, unfit, notes)


def evaluate_workspace(
    root: Path, trackers: Names[str] = (), missing: str = "error", with_toolkit: bool = True
) -> Evaluation:
    """Score trackers of the workspace `root`; by default all that have results.

    With `missing="count"` every pair of a result that is missing or too short scores 0, and there is a note.
    The toolkit's own number takes some seconds for each tracker. It is NaN where results are missing or too
    long, and left out without `with_toolkit`. Raises UserError, with one line for each fault, where results
    are missing, too short or damaged, or where nothing can be scored.
    """
    # 1. Score all pairs, then put the metrics of each tracker together.
    scored = score_workspace(root, trackers, missing)
    pairs = scored.sequences
    found = [tracker_scores(pairs, number, name) for number, name in enumerate(scored.trackers)]
    # The frames of a sequence are those of its first prompt, then those of the second, and so on.
    lengths = [each.num_prompts * each.pairs.scores.shape[1] for each in pairs]
    sequences = tuple(sequence.name for sequence, _ in scored.truths)
    # 2. Add the toolkit's own number, to compare with.
    notes_of_toolkit: list[str] = []
    measures = MEASURES
    if with_toolkit:
        found, notes_of_toolkit = _beside_toolkit(root, sequences, found, scored.unfit)
    else:
        measures = replace(MEASURES, metrics=tuple(each for each in MEASURES.metrics if each is not TOOLKIT))
    best_first = sorted(found, key=lambda each: -each.overall[SIMILARITY.key])
    name, starts = real_path(root).name, np.cumsum([0, *lengths])
    benchmark = Benchmark(name, sequences, starts, weights=scored.weights)
    return Evaluation(measures, benchmark, tuple(best_first), (*scored.notes, *notes_of_toolkit))


def trackers_in(root: Path) -> tuple[str, ...]:
    """The sorted names of the trackers with results in a workspace. Raises UserError where there are none."""
    found = sorted(path.parent.name for path in (root / "results").glob(f"*/{EXPERIMENT}") if path.is_dir())
    if not found:
        raise UserError(f"{root / 'results'}: holds no <tracker>/{EXPERIMENT}; track the workspace first")
    return tuple(found)


def _read_results(
    workspace: Workspace, truths: Truths, names: Names[str]
) -> tuple[Results, dict[str, list[str]], dict[str, list[str]]]:
    """All results, and by tracker the lines of messages on those that are missing or too short, or too long.

    Raises UserError where there is no such tracker, or a file cannot be read.
    """
    known = trackers_in(workspace.root)
    results: Results = {}
    lacking: dict[str, list[str]] = {name: [] for name in names}
    too_long: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        if name not in known:
            raise UserError(f"{workspace.root / 'results'}: no tracker {name!r}, but {', '.join(known)}")
        for sequence, _ in truths:
            rows = results[name, sequence.name] = []
            for prompt in sequence.expressions:
                path = result_path(workspace.root, name, sequence.name, prompt)
                lines = read_lines(path) if path.is_file() else None
                # -1: a missing file counts as too short, even for a video without frames.
                wanted, count = len(sequence.frames), -1 if lines is None else len(lines)
                fault = (
                    "no such result"
                    if lines is None
                    else f"{counted(count, 'line')} for {counted(wanted, 'frame')}"
                )
                if count != wanted:
                    (lacking if count < wanted else too_long)[name].append(f"{path}: {fault}")
                # A result that is too short counts as missing as a whole; one that is too long is cut.
                rows.append(Result(str(path), lines[:wanted] if lines and count >= wanted else None))
    return results, lacking, too_long


def _no_masks(results: Results) -> list[str]:
    """A note for each result with lines that are a rectangle or polygon, which the toolkit
    takes for empty.
    """
    notes = []
    for rows in results.values():
        for row in rows:
            shapes = [number for number, line in enumerate(row.lines or (), 1) if is_shape(line)]
            if shapes:
                fault = f"line {shapes[0]} is a rectangle or polygon ({len(shapes)} in all)"
                remedy = "they count as absence, as in `vot analysis`; write masks instead"
                notes.append(f"{row.name}: {fault}; {remedy}")
    return notes


def _scored(sequence: Sequence, truth: Truth, results: Results, names: Names[str]) -> SequencePairs:
    """The pairs of one sequence with the results of all trackers."""
    rows = [row for name in names for row in results[name, sequence.name]]
    missing = np.array([row.lines is None for row in rows])
    return SequencePairs(score_pairs(truth, rows), len(sequence.expressions), len(sequence.frames), missing)


def _beside_toolkit(
    root: Path, sequences: Names[str], found: list[TrackerScores], unfit: set[str]
) -> tuple[list[TrackerScores], list[str]]:
    """The scores with the toolkit's number, and notes where it is missing or differs from ours."""
    scores, notes = [], []
    for each in found:
        theirs, parts = np.nan, np.full(len(sequences), np.nan)
        if each.tracker in unfit:
            fault = "results do not have one line for each frame"
            notes.append(f"{each.tracker}: vot analysis was not run, because {fault}")
        else:
            values = toolkit_accuracy(root, each.tracker)
            theirs = 100 * values["accuracy"]
            parts = 100 * np.array([values["sequences"][name] for name in sequences])
            # Both are means of the same IoUs, so they agree up to rounding. A difference is no error of the
            # user, so it becomes a note.
            if abs(theirs - each.overall[SIMILARITY.key]) > 100 * AGREE:
                notes.append(
                    f"{each.tracker}: vot analysis gives {theirs!r}, which differs from the region similarity"
                )
        overall = each.overall | {TOOLKIT.key: theirs}
        scores.append(replace(each, overall=overall, by_sequence=each.by_sequence | {TOOLKIT.key: parts}))
    return scores, notes
