"""Protocols over boxes: what one is, and how it goes from the settings to an evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from configs.errors import UserError
from evaluation.absence import FOUND, METRICS, absence_scores
from evaluation.boxes.forms import truth_note
from evaluation.boxes.ope import EPS, NORM_PRECISION, PIXELS, PRECISION, SHARES, SUCCESS, OpePass, OpeRules
from evaluation.boxes.overlaps import Inclusive, inclusive_overlap
from evaluation.boxes.ragged import BoxResults, BoxTruth, is_box
from evaluation.config import EvaluationSettings
from evaluation.layouts.annos import read_annos
from evaluation.layouts.folders import FOLDERS, TrackerFolder, chosen
from evaluation.layouts.indexed import read_indexed
from evaluation.layouts.results import Faults, read_results
from evaluation.scores import Benchmark, Curve, Evaluation, Measures, Metric, TrackerScores

Scorer = Callable[[BoxResults], TrackerScores]

SUCCESS_METRIC = Metric(SUCCESS, "Success (AUC)")
PRECISION_METRIC = Metric(PRECISION, "Precision (20 px)")
NORM_PRECISION_METRIC = Metric(NORM_PRECISION, "Norm. precision (0.2)")
OPE_METRICS = (SUCCESS_METRIC, PRECISION_METRIC, NORM_PRECISION_METRIC)

Figure = tuple[str, int | None]  # of a curve: its value at a threshold's place, or its mean
FIGURES: dict[str, Figure] = {
    SUCCESS: (SUCCESS, None),
    PRECISION: (PRECISION, 20),
    NORM_PRECISION: (NORM_PRECISION, 20),
    "op50": (SUCCESS, 10),
    "op75": (SUCCESS, 15),
}


@dataclass(frozen=True)
class BoxProtocol:
    """A protocol over boxes.

    `scorer(truth)` prepares a truth and gives a function that scores one tracker. `absent_flag` is the number
    that says *absent* in a toolkit's `annos/absent`, None where the protocol reads no flags; with
    `needs_flags` it cannot do without. `takes_nan`: a result may be NaN, as a tracker writes it that has
    none. `weights(truth)`: how much each sequence counts, float64 (S,); None: all alike.
    """

    measures: Measures
    scorer: Callable[[BoxTruth], Scorer]
    absent_flag: int | None = None
    needs_flags: bool = False
    takes_nan: bool = True
    weights: Callable[[BoxTruth], np.ndarray] | None = None


def ope_protocol(
    name: str, rules: OpeRules, formula: str, source: str, metrics: tuple[Metric, ...] = OPE_METRICS
) -> BoxProtocol:
    """A protocol that counts as `rules` say; its `absent_flag` and the like are set with `replace`."""
    measures = Measures(name, metrics, _curves(rules), formula, source)

    def scorer(truth: BoxTruth) -> Scorer:
        counter = OpePass(truth, rules)
        return lambda results: _ope_scores(results, counter, metrics, truth)

    return BoxProtocol(measures, scorer)


def with_flags(protocol: BoxProtocol, absent_flag: int) -> BoxProtocol:
    """The same protocol, which needs the flags of `annos/absent`."""
    return replace(protocol, absent_flag=absent_flag, needs_flags=True)


def _curves(rules: OpeRules) -> tuple[Curve, ...]:
    success = Curve(SUCCESS, "Success", "Overlap threshold", "Success rate (%)", rules.overlaps, SUCCESS)
    precision = Curve(
        PRECISION, "Precision", "Location error threshold (pixels)", "Precision (%)", PIXELS, PRECISION
    )
    normalised = Curve(
        NORM_PRECISION,
        "Normalised precision",
        "Normalised location error threshold",
        "Precision (%)",
        SHARES,
        NORM_PRECISION,
    )
    return (success, precision, normalised) if rules.normalised else (success, precision)


def _ope_scores(
    results: BoxResults, counter: OpePass, metrics: tuple[Metric, ...], truth: BoxTruth
) -> TrackerScores:
    rates, overlaps = counter.rates(results)
    counts = {key: _counting(rate, counter.rules, results, truth) for key, rate in rates.items()}
    curves = {key: np.where(counts[key][:, None], 100 * rate, np.nan) for key, rate in rates.items()}
    overall, by_sequence = {}, {}
    for metric in metrics:
        curve, place = FIGURES[metric.key]
        rate, counted = rates[curve], counts[curve]
        of_each = rate.mean(axis=1) if place is None else rate[:, place]
        by_sequence[metric.key] = np.where(counted, 100 * of_each, np.nan)
        mean = rate[counted].mean(axis=0) if counted.any() else np.full(rate.shape[1], np.nan)
        overall[metric.key] = 100 * float(mean.mean() if place is None else mean[place])
    return TrackerScores(results.tracker, overall, by_sequence, curves, overlaps)


def _counting(rate: np.ndarray, rules: OpeRules, results: BoxResults, truth: BoxTruth) -> np.ndarray:
    """Which sequences count, bool (S,). One that has results missing does, though it has nothing else."""
    if not rules.leaves_out_zero:
        return np.ones(len(rate), bool)
    counted: np.ndarray = rate.sum(axis=1) > EPS
    if results.missing is not None:
        counted |= np.add.reduceat(results.missing.astype(np.int64), truth.starts[:-1]) > 0
    return counted


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
