"""What is to be seen of single frames: truth and trackers' masks, for the pictures of a report."""

from itertools import islice
from pathlib import Path

from data_prep.frames import ImageFrames
from data_prep.readers.entry import Reader
from data_prep.readers.expressions import frames_in
from data_prep.votsr.regions import decode_mask
from data_prep.votsr.results import read_lines, result_path
from data_prep.votsr.workspace import read_workspace
from evaluation.masks.inputs import masks_of, rows_of
from evaluation.report.frame_pictures import Look
from evaluation.report.frames import Place
from evaluation.votsr import truths_of


class WorkspaceLook:
    """Frames of a VOTSr workspace, in the order of `evaluation.protocols.votsr`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._truths = truths_of(read_workspace(root, check_frames=False))[0]

    def __call__(self, number: int, frame: int, trackers: tuple[str, ...]) -> Look:
        """Frame `frame` of sequence `number`: of the first prompt's, the second prompt's and so on."""
        sequence, truth = self._truths[number]
        at, index = divmod(frame, len(truth.target))
        prompt, frames = sequence.expressions[at], sequence.frames
        assert isinstance(frames, ImageFrames), "a workspace has image files"
        known = truth.frame(index)
        results: dict[str, Place] = {}
        for tracker in trackers:
            path = result_path(self._root, tracker, sequence.name, prompt)
            lines = read_lines(path) if path.is_file() else []
            results[tracker] = decode_mask(lines[index], truth.size) if index < len(lines) else None
        shown = min(index, len(frames) - 1)  # a truth may have more lines than there are frames
        return Look(shown, frames.read(frames.paths[shown]), known.mask if known else None, results, prompt)


class MaskSetLook:
    """Frames of a split of a mask data set, in the order of `evaluation.protocols.davis`."""

    def __init__(self, reader: Reader, truth: Path, split: str, results: Path, layout: str) -> None:
        self._reader, self._results = reader, results
        self._rows = [
            (entry, number, row)
            for entry in reader.find(truth, split)
            for number, row in enumerate(rows_of(entry, layout))
        ]

    def __call__(self, number: int, frame: int, trackers: tuple[str, ...]) -> Look:
        """Frame `frame` of row `number`."""
        entry, sentence, row = self._rows[number]
        assert self._reader.masks is not None, "it was scored by masks"
        truth = self._reader.masks(entry)
        _, frames = frames_in(entry)
        results: dict[str, Place] = {}
        for tracker in trackers:
            masks = masks_of(self._results / tracker, row, truth.names, truth.size)
            results[tracker] = next(islice(masks, frame, None))
        mask = next(islice(truth.masks, frame, None))
        words = entry.facts["expressions"][sentence] if entry.facts["expressions"] else ""
        return Look(frame, frames.read(frames.paths[frame]), mask, results, words)
