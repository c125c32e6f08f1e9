"""Protocols `davis` and `davis_semi`: J, F and J&F of trackers on a mask data set.

The measures are those of DAVIS 2017 (https://arxiv.org/abs/1704.00675; `evaluation.masks.measures`). The
official figure is a mean over rows, and a row is an expression in Ref-YouTube-VOS, Ref-DAVIS17 and MeViS. In
`davis` all frames of a video count, as in the evaluations of MeViS (https://github.com/henghuiding/MeViS) and
Ref-DAVIS17 (https://github.com/wjn922/ReferFormer). In `davis_semi` the first and the last frame do not, as
in DAVIS' semi-supervised task, where the first mask is given.

ReferFormer's script for Ref-DAVIS17 takes the mean over four sets of expressions, each with one expression
for each object; this equals the mean over all expressions. The script also lets the objects of a set exchange
their results where that scores more. Single expressions cannot be exchanged, so this is not done here.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.errors import UserError
from evaluation.absence import FOUND_IOU, MIN_LOSS_FRAMES
from evaluation.absence import METRICS as ABSENCE
from evaluation.config import EvaluationSettings
from evaluation.protocols.registry import register_protocol
from evaluation.scores import Curve, Evaluation, FrameSource, Measures, Metric

if TYPE_CHECKING:
    from data_prep.readers.reader import Reader

LAYOUTS = ("expressions", "data")  # those of `evaluation.layouts.mask_results`
# 0, 0.05, …, 1, as for the success curves of box benchmarks.
THRESHOLDS = np.linspace(0, 1, 21)
CURVE = Curve("success", "Success", "Overlap threshold", "Frames [%]", THRESHOLDS, "j")
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
    "J: the IoU of the masks, 1 where both are empty. F: the harmonic mean of boundary precision and recall; "
    "boundary pixels match within 0.8 % of the frame's diagonal, rounded up; 1 where there is no boundary. "
    "For each row: the mean over frames, the share of frames above 0.5 (recall), and the mean of the first "
    "quarter of frames minus that of the last (decay). Over all: means over rows. J&F is the mean of J and "
    f"F. Absence is measured over all frames with equal weight. A target is found where J >= {FOUND_IOU:g}. "
    f"It is lost when it returns after an absence or is not found for {MIN_LOSS_FRAMES} frames.",
    "https://github.com/davisvideochallenge/davis2017-evaluation, https://arxiv.org/abs/1704.00675",
)
DAVIS_SEMI = replace(
    DAVIS,
    protocol="davis_semi",
    formula=f"{DAVIS.formula} The first and the last frame of a video are left out.",
)


@dataclass(frozen=True)
class MaskProtocol:
    """DAVIS' measures on a mask data set; `leaves_out_ends`: without the first and last frame of a video."""

    measures: Measures
    leaves_out_ends: bool = False

    @property
    def name(self) -> str:
        """The option of `protocol=`."""
        return self.measures.protocol

    def evaluate(self, settings: EvaluationSettings) -> Evaluation:
        """See `evaluation.protocols.registry.EvaluationProtocol`."""
        # Imported here: it imports this module, and OpenCV, which `--help` does not need.
        from evaluation.masks.davis_evaluation import evaluate_masks

        if settings.boxes:
            raise UserError(f"boxes={settings.boxes}: protocol={self.name} scores masks; leave it out")
        return evaluate_masks(
            *self._data_set(settings),
            settings.trackers,
            layout=self._layout(settings),
            missing=settings.missing,
            semi=self.leaves_out_ends,
            workers=settings.workers,
        )

    def frame_source(self, settings: EvaluationSettings) -> FrameSource:
        """See `evaluation.protocols.registry.EvaluationProtocol`."""
        from evaluation.report.frame_sources import MaskSetFrames

        return MaskSetFrames(*self._data_set(settings), self._layout(settings))

    def _data_set(self, settings: EvaluationSettings) -> tuple["Reader", Path, str, Path]:
        """Reader, the data set's folder, the split, and the folder of results."""
        from data_prep.readers.reader import READERS, reader_of

        if not (settings.data and settings.truth and settings.results):
            raise UserError(
                f"protocol={self.name}: needs the data set, data=NAME split=… truth=DIR results=DIR"
            )
        reader = reader_of(settings.data, settings.split)
        if reader.masks is None:
            known = ", ".join(sorted(name for name, each in READERS.items() if each.masks is not None))
            raise UserError(f"data={settings.data}: has no masks; protocol={self.name} takes {known}")
        return reader, Path(settings.truth), settings.split, Path(settings.results)

    def _layout(self, settings: EvaluationSettings) -> str:
        layout = settings.layout or LAYOUTS[0]
        if layout not in LAYOUTS:
            raise UserError(f"layout={layout}: protocol={self.name} reads {', '.join(LAYOUTS)}")
        return layout


register_protocol(MaskProtocol(DAVIS))
register_protocol(MaskProtocol(DAVIS_SEMI, leaves_out_ends=True))
