"""What is to be seen of single frames of an indexed data set: true and trackers' boxes, for pictures."""

from pathlib import Path

import numpy as np

from data_prep.frames import ImageFrames
from data_prep.geometry import Box
from data_prep.index.build import index_path
from data_prep.index.store import Index
from data_prep.sequence import Sequence
from evaluation.boxes.evaluate import folders_of
from evaluation.config import EvaluationSettings
from evaluation.layouts.folders import TrackerFolder
from evaluation.layouts.mask_tables import read_mask_tables
from evaluation.layouts.tables import read_tables
from evaluation.report.frame_pictures import Look


class IndexLook:
    """Frames of an index, in its order, with the boxes that trackers' files have."""

    def __init__(self, index: Index, folders: list[TrackerFolder]) -> None:
        self._index = index
        self._folders = {each.tracker: each for each in folders}

    @staticmethod
    def of(settings: EvaluationSettings) -> "IndexLook":
        """Of the data set and the results that the settings name."""
        assert settings.data is not None
        index = Index(index_path(Path(settings.indexes), settings.data, settings.split))
        return IndexLook(index, folders_of(settings, tuple(index.rows["name"].to_pylist())))

    def __call__(self, number: int, frame: int, trackers: tuple[str, ...]) -> Look:
        """Frame `frame` of sequence `number`."""
        sequence = self._index.sequence(number)
        frames, truth = sequence.frames, sequence.truth
        assert isinstance(frames, ImageFrames) and truth is not None, "an index has them"
        results = {name: _box(self._folders[name], sequence, frame) for name in trackers}
        true_box = _as_box([float(side) for side in truth.boxes_xywh[frame]])
        spans = sequence.spans or ((0, len(frames)),) * len(sequence.expressions)
        words = [
            prompt
            for prompt, (start, stop) in zip(sequence.expressions, spans, strict=True)
            if start <= frame < stop
        ]
        picture = frames.read(frames.paths[frame])
        return Look(frame, picture, true_box, results, words[0] if words else "")


def _box(folder: TrackerFolder, sequence: Sequence, frame: int) -> Box | None:
    """The box of a frame in a tracker's file; None where it has none there."""
    paths = [f"{folder.folder}/{sequence.name}.txt"]
    sizes = np.array([sequence.frames.size])
    values = (read_mask_tables(paths, sizes) if folder.masks else read_tables(paths, 4)).values
    return _as_box(values[:, frame].tolist()) if frame < values.shape[1] else None


def _as_box(sides: list[float]) -> Box | None:
    x, y, width, height = sides
    return (x, y, width, height) if width > 0 and height > 0 and x == x and y == y else None
