"""Evaluation by a protocol over boxes: ground truth and results are read, faults
collected, trackers scored.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.errors import UserError
from evaluation.absence import FOUND_IOU, METRICS, absence_scores
from evaluation.boxes.forms import truth_note
from evaluation.boxes.overlaps import InclusiveBoxes, inclusive_overlap
from evaluation.boxes.protocol import BoxProtocol
from evaluation.boxes.ragged import BoxResults, BoxTruth, is_box
from evaluation.config import EvaluationSettings
from evaluation.layouts.annos import read_annos
from evaluation.layouts.folders import FOLDERS, TrackerFolder, select_trackers
from evaluation.layouts.indexed import read_indexed
from evaluation.layouts.results import Faults, read_results
from evaluation.scores import Benchmark, Evaluation, Metric, TrackerScores


class Absence:
    """The metrics of `evaluation.absence` on one ground truth; none where the target is never absent.

    The target is absent where the flags of the benchmark say so. Without flags it is absent where the true
    box is not valid. Results are taken as they are in the files, because a protocol that replaces an invalid
    box by the previous one hides that the tracker reported absence.
    """

    def __init__(self, truth: BoxTruth) -> None:
        self.starts = truth.starts
        self.absent = ~is_box(truth.boxes_xywh) if truth.absent is None else truth.absent
        self.metrics: tuple[Metric, ...] = METRICS if self.absent.any() else ()
        # Prepared once for all trackers.
        with np.errstate(all="ignore"):  # infinite sides
            self._truth = InclusiveBoxes.of(truth.boxes_xywh) if self.metrics else None

    def beside(self, scores: TrackerScores, results: BoxResults) -> TrackerScores:
        """The scores of a protocol with these metrics added."""
        if self._truth is None:
            return scores
        predicted_absent = ~is_box(results.boxes_xywh)
        with np.errstate(all="ignore"):
            found = ~predicted_absent & (
                inclusive_overlap(InclusiveBoxes.of(results.boxes_xywh), self._truth) >= FOUND_IOU
            )
        # A frame without a line in the file is no report of absence, so it does not count.
        known = None if results.missing is None else ~results.missing
        overall, by_sequence = absence_scores(self.starts, self.absent, predicted_absent, found, known)
        return replace(scores, overall=scores.overall | overall, by_sequence=scores.by_sequence | by_sequence)


def evaluate_boxes(protocol: BoxProtocol, settings: EvaluationSettings) -> Evaluation:
    """Score the trackers that the settings name, the best first.

    Raises UserError with one line for each fault in the files of all trackers.
    """
    # 1. Read the ground truth. The layout is checked first, because that needs no file.
    layout_of(settings)
    truth, notes = truth_of(protocol, settings)
    notes += [note for note in (truth_note(truth),) if note]
    # 2. Read and score the results of every tracker; all faults are reported together.
    faults = Faults(settings.missing == "count")
    scored = _scored(protocol, truth, folders_of(settings, truth.sequences), faults, settings.boxes)
    faults.raise_any()
    # 3. Add the metrics of absence, and sort the trackers by the first metric.
    measures, absence = protocol.measures, Absence(truth)
    if absence.metrics:
        measures = replace(measures, metrics=measures.metrics + absence.metrics)
    weights = protocol.weights(truth) if protocol.weights else None
    benchmark = Benchmark(truth.name, truth.sequences, truth.starts, truth.attributes, weights)
    # NaN compares with nothing, so a flag of its own puts trackers without a value at the end.
    key = measures.metrics[0].key
    scored.sort(key=lambda each: (np.isnan(each.overall[key]), -each.overall[key]))
    return Evaluation(measures, benchmark, tuple(scored), (*notes, *faults.notes))


def _scored(
    protocol: BoxProtocol, truth: BoxTruth, folders: list[TrackerFolder], faults: Faults, form: str | None
) -> list[TrackerScores]:
    score, absence = protocol.scorer(truth), Absence(truth)
    scored = []
    for folder in folders:
        results = read_results(folder, truth, faults, protocol.accepts_nan, form)
        if not faults.lines:  # after a fault, the other files are only checked
            scored.append(absence.beside(score(results), results))
    return scored


def truth_of(protocol: BoxProtocol, settings: EvaluationSettings) -> tuple[BoxTruth, list[str]]:
    """The ground truth, from the index of a data set or from a toolkit's folder, and notes on its files."""
    sequences = Path(settings.sequences) if settings.sequences else None
    if settings.data and sequences:
        raise UserError(
            f"sequences={sequences}: with data= all sequences of a split are scored; name another split, or "
            "leave data= out"
        )
    if settings.data:
        root = Path(settings.truth) if settings.truth else None
        return read_indexed(settings.data, settings.split, Path(settings.indexes), root)
    if not settings.truth:
        raise UserError(
            "truth: name the folder of the annotations, truth=DIR, or a data set, data=NAME split=…"
        )
    return read_annos(Path(settings.truth), sequences, protocol.absent_flag, protocol.needs_flags)


def layout_of(settings: EvaluationSettings) -> str:
    """The layout of the results: `layout`, or by default that of the ground truth.

    Raises UserError for a layout that has no boxes.
    """
    layout = settings.layout or ("data" if settings.data else "toolkit")
    if layout not in FOLDERS:
        known = f"{', '.join(FOLDERS)}; a workspace is scored with protocol=votsr"
        raise UserError(f"layout={layout}: protocol={settings.protocol} reads {known}")
    if layout == "masks" and settings.boxes:
        raise UserError(f"boxes={settings.boxes}: layout=masks takes the boxes of masks; leave boxes= out")
    return layout


def folders_of(settings: EvaluationSettings, sequences: Sequence[str]) -> list[TrackerFolder]:
    """The folders of the trackers to score. Raises UserError where there are none."""
    if not settings.results:
        raise UserError("results: name the folder of the trackers' results, results=DIR")
    layout, results = layout_of(settings), Path(settings.results)
    # `python -m infer data=…` writes results into a folder of this name.
    inner = results / f"{settings.data}-{settings.split}"
    found = FOLDERS[layout](inner if settings.data and inner.is_dir() else results, sequences)
    return select_trackers(found, settings.trackers)
