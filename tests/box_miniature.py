"""A small benchmark of boxes that tests invent: every kind of fault, and the folders of a toolkit."""

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from evaluation.boxes.ragged import BoxResults, BoxTruth

Boxes = list[list[list[float]]]  # sequences of frames of x, y, w, h

# Few values, so that boxes touch, repeat and reach overlaps and errors that equal a threshold.
SIDES = st.one_of(st.integers(1, 24), st.sampled_from([2.5, 12.25, 20.0, 0.1]))
CORNERS = st.one_of(st.integers(-3, 30), st.sampled_from([0.0, 1.0, 4.5, 0.3]))
FAULTY = st.sampled_from([0.0, -0.0, -1.0, -7.5, float("nan"), float("inf"), -float("inf"), 1e6])


def boxes(faults: bool) -> st.SearchStrategy[list[float]]:
    """One box; with `faults` any of its numbers may be none of a box."""
    sound = st.tuples(CORNERS, CORNERS, SIDES, SIDES).map(lambda box: [float(side) for side in box])
    if not faults:
        return sound
    absent = st.just([0.0, 0.0, 0.0, 0.0])
    broken = st.tuples(*[st.one_of(CORNERS, SIDES, FAULTY)] * 4).map(lambda box: [float(x) for x in box])
    return st.one_of(sound, sound, absent, broken)


@st.composite
def benchmarks(
    draw: st.DrawFn, truth_faults: bool = True, result_faults: bool = True
) -> tuple[Boxes, list[list[int]], Boxes]:
    """True boxes, flags 0 or 1, and results, some of them longer than the truth; 1 to 4 sequences."""
    truth, flags, results = [], [], []
    for _ in range(draw(st.integers(1, 4))):
        count = draw(st.integers(1, 9))
        truth.append(draw(st.lists(boxes(truth_faults), min_size=count, max_size=count)))
        flags.append(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
        near = st.one_of(boxes(result_faults), st.sampled_from(truth[-1]) if result_faults else boxes(False))
        results.append(draw(st.lists(near, min_size=count, max_size=count + 2)))
    return truth, flags, results


def truth_of(truth: Boxes, absent: list[list[bool]] | None = None, **more: Any) -> BoxTruth:
    """The same as a truth of sequences called s0, s1, …"""
    starts = np.concatenate([[0], np.cumsum([len(each) for each in truth])])
    names = tuple(f"s{number}" for number in range(len(truth)))
    flags = None if absent is None else np.concatenate([np.array(each, bool) for each in absent])
    return BoxTruth("invented", names, starts, columns(truth), flags, **more)


def results_of(results: Boxes, truth: Boxes, tracker: str = "ours") -> BoxResults:
    """The same as results, cut to the truth's lengths."""
    cut = [each[: len(true)] for each, true in zip(results, truth, strict=True)]
    return BoxResults(tracker, columns(cut))


def columns(boxes_xywh: Boxes) -> np.ndarray:
    """All boxes behind one another, float64 (4, F)."""
    return np.array([box for each in boxes_xywh for box in each], np.float64).reshape(-1, 4).T.copy()


def write_toolkit(
    root: Path, truth: Boxes, flags: list[list[int]], trackers: dict[str, Boxes], separator: str = ","
) -> None:
    """Write `annos`, `annos/absent` and `tracking_results` as a toolkit has them."""
    (root / "annos" / "absent").mkdir(parents=True)
    for number, (true, flag) in enumerate(zip(truth, flags, strict=True)):
        (root / "annos" / f"s{number}.txt").write_text(lines(true))
        (root / "annos" / "absent" / f"s{number}.txt").write_text("".join(f"{each}\n" for each in flag))
    for tracker, results in trackers.items():
        folder = root / "tracking_results" / f"{tracker}_tracking_result"
        folder.mkdir(parents=True)
        for number, each in enumerate(results):
            (folder / f"s{number}.txt").write_text(lines(each, separator))


def lines(boxes_xywh: list[list[float]], separator: str = ",") -> str:
    """Boxes as lines of a file, every digit kept."""
    return "".join(separator.join(repr(side) for side in box) + "\n" for box in boxes_xywh)
