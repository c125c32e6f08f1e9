"""What is to be seen of single frames of an indexed data set: the true box and trackers' boxes."""

from pathlib import Path

from data_prep.frames import read_image
from data_prep.geometry import Box
from data_prep.index.store import Index
from evaluation.layouts.folders import TrackerFolder
from evaluation.layouts.tables import read_tables
from evaluation.report.frame_pictures import Look


class IndexLook:
    """Frames of an index, in its order, with the boxes in the folders of trackers."""

    def __init__(self, index: Index, folders: dict[str, Path]) -> None:
        self._index, self._folders = index, folders

    @classmethod
    def of(cls, index: Index, folders: list[TrackerFolder]) -> "IndexLook":
        """With the folders that were scored."""
        return cls(index, {each.tracker: each.folder for each in folders})

    def __call__(self, number: int, frame: int, trackers: tuple[str, ...]) -> Look:
        """Frame `frame` of sequence `number`, both from 0."""
        sequence = self._index.sequence(number)
        start = int(self._index.starts[number])
        paths = [f"{self._folders[tracker]}/{sequence.name}.txt" for tracker in trackers]
        boxes = {tracker: _box(path, frame) for tracker, path in zip(trackers, paths, strict=True)}
        truth = tuple(float(side) for side in self._index.boxes_xywh[start + frame])
        words = next(iter(sequence.prompts), "")
        picture = read_image(sequence.frames.paths[frame])  # type: ignore[attr-defined]  # an index has images
        return Look(frame, picture, truth, boxes, words)  # type: ignore[arg-type]  # four sides


def _box(path: str, frame: int) -> Box | None:
    """A tracker's box in a frame; None where its file has none."""
    values = read_tables([path], 4).values
    if frame >= values.shape[1]:
        return None
    x, y, width, height = map(float, values[:, frame])
    return (x, y, width, height) if width > 0 and height > 0 else None
