"""Single frames with the ground truth and trackers' masks or boxes, for the pictures of a report."""

from itertools import islice
from pathlib import Path

import numpy as np

from data_prep.geometry import Box
from data_prep.index.build import index_path
from data_prep.index.store import Index
from data_prep.readers.meta_expressions import frames_in
from data_prep.readers.reader import Reader
from data_prep.sequence import Sequence
from data_prep.video.frames import ImageFrames
from data_prep.votsr.regions import decode_mask
from data_prep.votsr.results import read_lines, result_path
from data_prep.votsr.workspace import read_workspace
from evaluation.boxes.evaluation import folders_of
from evaluation.config import EvaluationSettings
from evaluation.layouts.folders import TrackerFolder
from evaluation.layouts.mask_boxes import read_mask_tables
from evaluation.layouts.mask_results import masks_of, rows_of
from evaluation.layouts.tables import read_tables
from evaluation.scores import FrameView, Region
from evaluation.votsr import truths_of


class WorkspaceFrames:
    """Frames of a VOTSr workspace; sequences are numbered as in `evaluation.protocols.votsr`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._truths = truths_of(read_workspace(root, check_frames=False))[0]

    def __call__(self, number: int, frame: int, trackers: tuple[str, ...]) -> FrameView:
        """One frame of sequence `number`. `frame` counts the frames of the first prompt, then
        the second, …
        """
        sequence, truth = self._truths[number]
        # Frames are numbered through over the prompts of a sequence (see `evaluation.protocols.votsr`).
        at, index = divmod(frame, len(truth.target))
        prompt, frames = sequence.expressions[at], sequence.frames
        assert isinstance(frames, ImageFrames), "a workspace has image files"
        truth_frame = truth.frame(index)
        results: dict[str, Region] = {}
        for tracker in trackers:
            path = result_path(self._root, tracker, sequence.name, prompt)
            lines = read_lines(path) if path.is_file() else []
            results[tracker] = decode_mask(lines[index], truth.size) if index < len(lines) else None
        frame_index = min(index, len(frames) - 1)  # a truth may have more lines than there are frames
        return FrameView(
            frame_index,
            frames.read(frames.paths[frame_index]),
            truth_frame.mask if truth_frame else None,
            results,
            prompt,
        )


class MaskSetFrames:
    """Frames of a split of a mask data set; rows are numbered as in `evaluation.protocols.davis`."""

    def __init__(self, reader: Reader, truth: Path, split: str, results: Path, layout: str) -> None:
        self._reader, self._results = reader, results
        self._rows = [
            (entry, number, row)
            for entry in reader.find(truth, split)
            for number, row in enumerate(rows_of(entry, layout))
        ]

    def __call__(self, number: int, frame: int, trackers: tuple[str, ...]) -> FrameView:
        """One frame of row `number`."""
        entry, expression_number, row = self._rows[number]
        assert self._reader.masks is not None, "it was scored by masks"
        truth = self._reader.masks(entry)
        _, frames = frames_in(entry)
        results: dict[str, Region] = {}
        for tracker in trackers:
            masks = masks_of(self._results / tracker, row, truth.names, truth.size)
            # Results are read one after the other; only the mask of this frame is kept.
            results[tracker] = next(islice(masks, frame, None))
        mask = next(islice(truth.masks, frame, None))
        expressions = entry.facts["expressions"][expression_number] if entry.facts["expressions"] else ""
        return FrameView(frame, frames.read(frames.paths[frame]), mask, results, expressions)


class IndexFrames:
    """Frames of an indexed data set, in the order of the index, with the boxes in the files of trackers."""

    def __init__(self, index: Index, folders: list[TrackerFolder]) -> None:
        self._index = index
        self._folders = {each.tracker: each for each in folders}

    @staticmethod
    def of(settings: EvaluationSettings) -> "IndexFrames":
        """The frames of the data set, and the results, that the settings name."""
        assert settings.data is not None
        index = Index(index_path(Path(settings.indexes), settings.data, settings.split))
        return IndexFrames(index, folders_of(settings, tuple(index.rows["name"].to_pylist())))

    def __call__(self, number: int, frame: int, trackers: tuple[str, ...]) -> FrameView:
        """One frame of sequence `number`."""
        sequence = self._index.sequence(number)
        frames, truth = sequence.frames, sequence.truth
        assert isinstance(frames, ImageFrames) and truth is not None, "an index has them"
        results = {name: _box(self._folders[name], sequence, frame) for name in trackers}
        true_box = _as_box([float(side) for side in truth.boxes_xywh[frame]])
        # An expression may hold for a part of the frames only.
        spans = sequence.spans or ((0, len(frames)),) * len(sequence.expressions)
        expressions = [
            prompt
            for prompt, (start, stop) in zip(sequence.expressions, spans, strict=True)
            if start <= frame < stop
        ]
        image = frames.read(frames.paths[frame])
        return FrameView(frame, image, true_box, results, expressions[0] if expressions else "")


def _box(folder: TrackerFolder, sequence: Sequence, frame: int) -> Box | None:
    """The box of a frame in the file of a tracker; None where the file has no box there."""
    paths = [f"{folder.folder}/{sequence.name}.txt"]
    sizes = np.array([sequence.frames.size])
    values = (read_mask_tables(paths, sizes) if folder.masks else read_tables(paths, 4)).values
    return _as_box(values[:, frame].tolist()) if frame < values.shape[1] else None


def _as_box(sides: list[float]) -> Box | None:
    # `x == x` is False for NaN, and so is `width > 0`.
    x, y, width, height = sides
    return (x, y, width, height) if width > 0 and height > 0 and x == x and y == y else None
