"""A small evaluation made up in memory: three trackers, six sequences, two curves, three attributes."""

import numpy as np

from evaluation.scores import Benchmark, Curve, Evaluation, Measures, Metric, TrackerScores

THRESHOLDS = np.linspace(0, 1, 5)
MEASURES = Measures(
    "toy",
    (
        Metric("success", "Success"),
        Metric("precision", "Precision"),
        Metric("delay", "Delay", higher_is_better=False, unit="frames"),
    ),
    (
        Curve("success", "Success plot", "Overlap", "Frames (%)", THRESHOLDS, "success"),
        Curve("precision", "Precision plot", "Error", "Frames (%)", THRESHOLDS * 50, "precision"),
    ),
    "A frame counts where a > b & c < d.",
    "A paper, https://example.org/paper",
)
SEQUENCES = ("ball-1", "ball-2", "cat-1", "cat_2", "dog-1", "dog-10")
ATTRIBUTES = {
    "Occlusion": np.array([True, True, True, False, False, False]),
    "Blur": np.array([False, True, False, True, False, True]),
    "Small": np.array([True, False, False, False, True, True]),
    "Nowhere": np.zeros(6, bool),
}


def tracker(name: str, success: list[float], delay: list[float] | None = None) -> TrackerScores:
    """A tracker with these figures a sequence; its curves lie around them."""
    values = np.array(success)
    delays = np.full(len(values), np.nan) if delay is None else np.array(delay)
    by_sequence = {"success": values, "precision": values / 2, "delay": delays}
    curve = values[:, None] * np.linspace(1.5, 0.5, len(THRESHOLDS))
    overall = {
        key: float(np.nanmean(each)) if not np.isnan(each).all() else np.nan
        for key, each in by_sequence.items()
    }
    return TrackerScores(name, overall, by_sequence, {"success": curve, "precision": curve[:, ::-1] / 2})


GOOD = tracker("good", [60.0, 50.0, 40.0, 55.0, 45.0, 50.0], [1.0, 2.0, np.nan, 4.0, 1.0, 2.0])
FAIR = tracker("fair", [50.0, 52.0, 30.0, 35.0, 45.0, np.nan], [3.0, 2.0, 9.0, np.nan, 5.0, 9.0])
POOR = tracker("poor", [10.0, 20.0, 5.0, 15.0, 12.0, 10.0])


def evaluation(
    *trackers: TrackerScores, weights: np.ndarray | None = None, name: str = "Toy", attributes: bool = True
) -> Evaluation:
    """The trackers, those of this module unless given, on the six sequences."""
    starts = np.arange(0, 70, 10)
    benchmark = Benchmark(name, SEQUENCES, starts, ATTRIBUTES if attributes else {}, weights)
    return Evaluation(MEASURES, benchmark, trackers or (GOOD, FAIR, POOR), ("cat-1: cut by 3 lines",))
