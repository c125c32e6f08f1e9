"""Where the pictures of a report come from, by what was scored."""

from collections.abc import Callable
from pathlib import Path

from data_prep.index.build import index_path
from data_prep.index.store import Index
from evaluation.config import EvaluationSettings
from evaluation.layouts.folders import FOLDERS
from evaluation.protocols.davis import mask_layout, mask_reader
from evaluation.report.box_look import IndexLook
from evaluation.report.frame_pictures import FramePictures, Look
from evaluation.report.looks import MaskSetLook, WorkspaceLook
from evaluation.scores import Evaluation

Looks = Callable[[int, int, tuple[str, ...]], Look]


def pictures_of(evaluation: Evaluation, settings: EvaluationSettings) -> FramePictures | None:
    """The frames of what was scored; None where there are only annotations, as in a toolkit's folders."""
    look = _look(evaluation, settings)
    return None if look is None else FramePictures(evaluation, look)


def _look(evaluation: Evaluation, settings: EvaluationSettings) -> Looks | None:
    if settings.protocol == "votsr":
        return WorkspaceLook(Path(settings.truth))
    if settings.protocol.startswith("davis"):
        reader, layout = mask_reader(settings), mask_layout(settings)
        return MaskSetLook(reader, Path(settings.truth), settings.split, Path(settings.results), layout)
    if not settings.data:
        return None
    index = Index(index_path(Path(settings.indexes), settings.data, settings.split))
    folders = FOLDERS[settings.layout](Path(settings.results), evaluation.benchmark.sequences)
    return IndexLook.of(index, folders)
