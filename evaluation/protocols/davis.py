"""Protocols `davis` and `davis_semi`: J, F and J&F of trackers on a mask data set.

The measures are those of DAVIS 2017 (https://arxiv.org/abs/1704.00675; `evaluation.masks.measures`). A row
is what the official figure is a mean over: in Ref-YouTube-VOS, Ref-DAVIS17 and MeViS a sentence. All frames
of the video count in `davis`, as in the evaluations of MeViS (https://github.com/henghuiding/MeViS) and
Ref-DAVIS17 (https://github.com/wjn922/ReferFormer); its first and last do not in `davis_semi`, DAVIS'
semi-supervised measure, where the first mask is given.

ReferFormer's script for Ref-DAVIS17 takes the mean over four sets of sentences, each with one sentence an
object, so it is the mean over all sentences. It also lets the objects of a set change places where that
scores more, which cannot be done for single sentences and is not done here.
"""

from collections.abc import Sequence as Names
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.parallel import in_processes
from data_prep.readers.entry import Entry, Reader
from evaluation.absence import FOUND, WHILE
from evaluation.absence import METRICS as ABSENCE
from evaluation.masks.inputs import frame_names, lacks_of, rows_of
from evaluation.masks.mask_scores import CURVE, tracker_scores
from evaluation.masks.video import score_target
from evaluation.scores import Benchmark, Evaluation, Measures, Metric

METRICS = (
    Metric("j_and_f", "J&F"),
    Metric("j", "J"),
    Metric("j_recall", "J recall"),
    Metric("j_decay", "J decay", higher_is_better=False),
    Metric("f", "F"),
    Metric("f_recall", "F recall"),
    Metric("f_decay", "F decay", higher_is_better=False),
)
DAVIS = Measures(
    "davis",
    (*METRICS, *ABSENCE),
    (CURVE,),
    "J: IoU of the masks, 1 where both are empty. F: the harmonic mean of boundary precision and recall, a "
    "pixel being matched within 0.8 % of the frame's diagonal, rounded up; 1 where there is no boundary. Of "
    "each row the mean over its frames, the share of them above 0.5 (recall), and the first quarter's mean "
    "less the last one's (decay); over all, means of the rows. J&F is the mean of J and F. Absence is "
    f"counted over all frames alike; a target is found from J {FOUND:g} on, and lost when it comes back "
    f"after an absence or is not found for {WHILE} frames.",
    "https://github.com/davisvideochallenge/davis2017-evaluation, https://arxiv.org/abs/1704.00675",
)
DAVIS_SEMI = replace(
    DAVIS, protocol="davis_semi", formula=f"{DAVIS.formula} A video's first and last frame are left out."
)


def evaluate_masks(
    reader: Reader,
    truth: Path,
    split: str,
    results: Path,
    trackers: Names[str] = (),
    *,
    layout: str = "expressions",
    missing: str = "error",
    semi: bool = False,
    workers: int = 1,
) -> Evaluation:
    """Score trackers (all in `results`, if none is named) on a split of a data set that lies in `truth`.

    `layout` is as in `evaluation.masks.inputs`. With `missing="count"` a missing mask scores 0 and it is
    noted. `workers` is the number of processes, 0 one a core. Raises UserError, a line each, where results
    are missing; where there are none, one cannot be read, or the split has no masks.
    """
    names = tuple(trackers) or trackers_in(results)
    roots = [results / name for name in names]
    entries = [entry for entry in reader.find(truth, split) if rows_of(entry, layout)]
    if not entries:
        raise UserError(f"{truth}: no sentence in split={split}; take another split")
    if (unknown := [str(root) for root in roots if not root.is_dir()]) != []:
        raise UserError(f"{unknown[0]}: no such tracker; there are {', '.join(trackers_in(results))}")
    lacks = [line for root in roots for line in _lacks(root, entries, layout)]
    if lacks and missing == "error":
        raise UserError("\n".join(f"{line}; track it again, or give missing=count" for line in lacks))
    work = partial(score_target, reader, roots, layout)
    videos = list(in_processes(work, entries, workers))
    found = [tracker_scores(videos, number, name, semi) for number, name in enumerate(names)]
    starts = np.cumsum([0, *(len(video.absent) for video in videos for _ in video.rows)])
    rows = tuple(row.name for video in videos for row in video.rows)
    notes = [f"{line}; what is missing scores 0" for line in lacks] + _strays(roots, entries, layout)
    best_first = sorted(found, key=lambda each: -each.overall[METRICS[0].key])
    benchmark = Benchmark(f"{reader.name} {split}", rows, starts)
    return Evaluation(DAVIS_SEMI if semi else DAVIS, benchmark, tuple(best_first), tuple(notes))


def trackers_in(results: Path) -> tuple[str, ...]:
    """The folders in `results`, by name. Raises UserError where there are none."""
    found = sorted(path.name for path in results.iterdir() if path.is_dir()) if results.is_dir() else []
    if not found:
        raise UserError(f"{results}: holds no folder of a tracker; check results=")
    return tuple(found)


def _lacks(root: Path, entries: list[Entry], layout: str) -> list[str]:
    """What a tracker's results lack, a line for each row."""
    told = []
    for entry in entries:
        names = frame_names(entry)
        told += [line for row in rows_of(entry, layout) for line in lacks_of(root, row, names)]
    return told


def _strays(roots: list[Path], entries: list[Entry], layout: str) -> list[str]:
    """A note for each tracker with results of videos that the split has not."""
    is_data = layout == "data"
    known = {f"{entry.name}.txt" if is_data else entry.folder.name for entry in entries}
    notes = []
    for root in roots:
        found = (
            (root / "masks").glob("*.txt") if is_data else (path for path in root.iterdir() if path.is_dir())
        )
        others = sorted({path.name for path in found} - known)
        if others:
            notes.append(f"{root}: {len(others)} results of no video here, the first {others[0]}; left out")
    return notes
