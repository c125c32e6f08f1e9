"""Indexes made in the test, without a data set on the disk."""

import os
from collections.abc import Sequence as Rows
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.index.build import row_of, state_of, write_index
from data_prep.index.store import About, Index
from data_prep.readers.reader import Reader
from data_prep.sequence import ABSENT, PRESENT, Sequence, Span, Truth
from data_prep.video.frames import ImageFrames

ROOT = Path("/data/set")
SIZE = (320, 240)


def video(
    name: str,
    present: Rows[int],
    prompts: Rows[str] = ("the cup",),
    spans: Rows[Span] | None = None,
    seed: int = 0,
) -> Sequence:
    """A sequence whose frame t is named `t.jpg`, with a box of its own in each frame that shows it."""
    rng = np.random.default_rng(seed)
    count = len(present)
    boxes = np.concatenate([rng.uniform(10, 200, (count, 2)), rng.uniform(8, 40, (count, 2))], axis=1)
    states = np.array(present, np.int8)
    boxes[states == ABSENT] = 0
    frames = ImageFrames(tuple(ROOT / name / "img" / f"{t}.jpg" for t in range(count)), SIZE)
    truth = Truth(boxes.astype(np.float32), states)
    return Sequence(name, frames, tuple(prompts), spans=None if spans is None else tuple(spans), truth=truth)


def index_of(path: Path, videos: Rows[Sequence], data: str = "small") -> Index:
    """An index of these sequences."""
    rows: list[dict[str, Any]] = [row_of(each, ROOT) for each in videos]
    write_index(path, rows, About(data, "train", str(ROOT), "state", len(rows)))
    return Index(path)


def is_watched(path: Path, reader: Reader, root: Path, split: str) -> bool:
    """Whether an index of the split would be made anew when a file or folder changed."""
    before = state_of(reader.find(root, split))
    os.utime(path, (0, 0))
    return state_of(reader.find(root, split)) != before


SEEN = (PRESENT,) * 12
COMING = (ABSENT,) * 4 + (PRESENT,) * 8
