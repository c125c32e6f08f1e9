"""Box protocols from the settings to an evaluation: truth, results, faults, figures, absence."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.errors import UserError
from evaluation.absence import FOUND, METRICS, absence_scores
from evaluation.boxes.forms import truth_note
from evaluation.boxes.overlaps import Inclusive, inclusive_overlap
from evaluation.boxes.protocol import BoxProtocol
from evaluation.boxes.ragged import BoxResults, BoxTruth, is_box
from evaluation.config import EvaluationSettings
from evaluation.layouts.annos import read_annos
from evaluation.layouts.folders import FOLDERS, TrackerFolder, chosen
from evaluation.layouts.indexed import read_indexed
from evaluation.layouts.results import Faults, read_results
from evaluation.scores import Benchmark, Evaluation, Metric, TrackerScores


class Absence:
    """The figures of `evaluation.absence` on one truth; none where its target is never absent.

    The target is absent where the benchmark's flags say so, or, where it has none, where the true box is
    no box. Results are taken as they were written: a protocol that repeats the previous box has lost what
    the tracker said of absence.
    """

    def __init__(self, truth: BoxTruth) -> None:
        self.starts = truth.starts
        self.absent = ~is_box(truth.boxes_xywh) if truth.absent is None else truth.absent
        self.metrics: tuple[Metric, ...] = METRICS if self.absent.any() else ()
        with np.errstate(all="ignore"):  # infinite sides
            self._truth = Inclusive.of(truth.boxes_xywh) if self.metrics else None

    def beside(self, scores: TrackerScores, results: BoxResults) -> TrackerScores:
        """The scores with these figures beside the protocol's own."""
        if self._truth is None:
            return scores
        said = ~is_box(results.boxes_xywh)
        with np.errstate(all="ignore"):
            found = ~said & (inclusive_overlap(Inclusive.of(results.boxes_xywh), self._truth) >= FOUND)
        known = None if results.missing is None else ~results.missing
        overall, by_sequence = absence_scores(self.starts, self.absent, said, found, known)
        return replace(scores, overall=scores.overall | overall, by_sequence=scores.by_sequence | by_sequence)


def evaluate_boxes(protocol: BoxProtocol, settings: EvaluationSettings) -> Evaluation:
    """Score the trackers that the settings name, best first.

    Raises UserError, a line for each fault of all their files, before anything is told of any of them.
    """
    layout_of(settings)  # before anything is read
    truth, notes = truth_of(protocol, settings)
    notes += [note for note in (truth_note(truth),) if note]
    faults = Faults(settings.missing == "count")
    scored = _scored(protocol, truth, folders_of(settings, truth.sequences), faults, settings.boxes)
    faults.raise_any()
    measures, absence = protocol.measures, Absence(truth)
    if absence.metrics:
        measures = replace(measures, metrics=measures.metrics + absence.metrics)
    weights = protocol.weights(truth) if protocol.weights else None
    benchmark = Benchmark(truth.name, truth.sequences, truth.starts, truth.attributes, weights)
    key = measures.metrics[0].key
    scored.sort(key=lambda each: (np.isnan(each.overall[key]), -each.overall[key]))
    return Evaluation(measures, benchmark, tuple(scored), (*notes, *faults.notes))


def _scored(
    protocol: BoxProtocol, truth: BoxTruth, folders: list[TrackerFolder], faults: Faults, form: str | None
) -> list[TrackerScores]:
    score, absence = protocol.scorer(truth), Absence(truth)
    scored = []
    for folder in folders:
        results = read_results(folder, truth, faults, protocol.takes_nan, form)
        if not faults.lines:  # else all other files are only looked through
            scored.append(absence.beside(score(results), results))
    return scored


def truth_of(protocol: BoxProtocol, settings: EvaluationSettings) -> tuple[BoxTruth, list[str]]:
    """The truth, and what was noticed in reading it: of a data set by name, else of a toolkit's folder."""
    sequences = Path(settings.sequences) if settings.sequences else None
    if settings.data and sequences:
        raise UserError(
            f"sequences={sequences}: a split is scored whole; name another split, or truth=DIR alone"
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
    """How results lie: as is told, else as goes with the truth. Raises UserError for what is not of boxes."""
    layout = settings.layout or ("data" if settings.data else "toolkit")
    if layout not in FOLDERS:
        known = f"{', '.join(FOLDERS)}; a workspace is scored with protocol=votsr"
        raise UserError(f"layout={layout}: protocol={settings.protocol} reads {known}")
    if layout == "masks" and settings.boxes:
        raise UserError(f"boxes={settings.boxes}: layout=masks takes the boxes of masks; leave boxes= out")
    return layout


def folders_of(settings: EvaluationSettings, sequences: Sequence[str]) -> list[TrackerFolder]:
    """The folders of the trackers that are to be scored."""
    if not settings.results:
        raise UserError("results: name the folder of the trackers' results, results=DIR")
    layout, results = layout_of(settings), Path(settings.results)
    inner = results / f"{settings.data}-{settings.split}"  # where `python -m infer data=…` puts them
    found = FOLDERS[layout](inner if settings.data and inner.is_dir() else results, sequences)
    return chosen(found, settings.trackers)
