"""Protocols by the names that commands give them: what they score, and what pictures show of it."""

import importlib
from collections.abc import Callable
from pathlib import Path

from configs.errors import UserError
from data_prep.files import real_path
from data_prep.readers.reader import Reader
from evaluation.config import MASK_PROTOCOLS, EvaluationSettings
from evaluation.report.frame_selection import Look
from evaluation.scores import Evaluation

Looker = Callable[[int, int, tuple[str, ...]], Look]
SEMI = "davis_semi"


def evaluate(settings: EvaluationSettings) -> Evaluation:
    """Score what the settings name by the protocol that they name, one of `evaluation.config.PROTOCOLS`.

    Raises UserError, a line for each fault of the files.
    """
    if settings.boxes and settings.protocol in ("votsr", *MASK_PROTOCOLS):
        raise UserError(f"boxes={settings.boxes}: protocol={settings.protocol} scores masks; leave it out")
    if settings.protocol == "votsr":
        from evaluation.protocols.votsr import evaluate_workspace

        return evaluate_workspace(_workspace(settings), settings.trackers, settings.missing)
    if settings.protocol in MASK_PROTOCOLS:
        from evaluation.protocols.davis import evaluate_masks

        return evaluate_masks(
            *_mask_set(settings),
            settings.trackers,
            layout=_mask_layout(settings),
            missing=settings.missing,
            semi=settings.protocol == SEMI,
            workers=settings.workers,
        )
    from evaluation.boxes.protocol import evaluate_boxes

    module = importlib.import_module(f"evaluation.protocols.{settings.protocol}")
    return evaluate_boxes(module.PROTOCOL, settings)


def looker(settings: EvaluationSettings) -> Looker | None:
    """What shows single frames of what was scored; None where nobody knows where its frames lie."""
    from evaluation.report.frame_sources import IndexLook, MaskSetLook, WorkspaceLook

    if settings.protocol == "votsr":
        return WorkspaceLook(_workspace(settings))
    if settings.protocol in MASK_PROTOCOLS:
        return MaskSetLook(*_mask_set(settings), _mask_layout(settings))
    return IndexLook.of(settings) if settings.data else None


def _workspace(settings: EvaluationSettings) -> Path:
    if settings.layout not in (None, "votsr"):
        raise UserError(f"layout={settings.layout}: protocol=votsr reads votsr")
    root = settings.truth or settings.results
    if not root:
        raise UserError("truth: name the workspace, truth=DIR")
    if settings.results and real_path(settings.results) not in (
        real_path(root),
        real_path(root) / "results",
    ):
        raise UserError(f"results={settings.results}: a workspace has its own; give truth=DIR alone")
    return Path(root)


def _mask_set(settings: EvaluationSettings) -> tuple[Reader, Path, str, Path]:
    """Reader, the data set's folder, the split, and the folder of results."""
    from data_prep.readers.reader import READERS, reader_of

    if not (settings.data and settings.truth and settings.results):
        name = settings.protocol
        raise UserError(f"protocol={name}: needs the data set, data=NAME split=… truth=DIR results=DIR")
    reader = reader_of(settings.data, settings.split)
    if reader.masks is None:
        known = ", ".join(name for name, each in READERS.items() if each.masks is not None)
        raise UserError(f"data={settings.data}: has no masks; protocol={settings.protocol} takes {known}")
    return reader, Path(settings.truth), settings.split, Path(settings.results)


def _mask_layout(settings: EvaluationSettings) -> str:
    from evaluation.layouts.mask_results import LAYOUTS

    layout = settings.layout or LAYOUTS[0]
    if layout not in LAYOUTS:
        raise UserError(f"layout={layout}: protocol={settings.protocol} reads {', '.join(LAYOUTS)}")
    return layout
