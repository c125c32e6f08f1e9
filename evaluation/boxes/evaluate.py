"""Box protocols from the settings to an evaluation: truth, results, faults, figures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.errors import UserError
from evaluation.boxes.absence import Absence
from evaluation.boxes.forms import truth_note
from evaluation.boxes.ragged import BoxTruth
from evaluation.config import EvaluationSettings
from evaluation.layouts.annos import read_annos
from evaluation.layouts.faults import Faults
from evaluation.layouts.folders import FOLDERS, TrackerFolder, chosen
from evaluation.layouts.indexed import read_indexed
from evaluation.layouts.results import read_results
from evaluation.protocols.box_protocol import BoxProtocol
from evaluation.scores import Benchmark, Evaluation, TrackerScores


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
