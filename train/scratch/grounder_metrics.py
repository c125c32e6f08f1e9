"""Metrics of a grounder's answers to questions about rendered frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.geometry import area, iou
from evaluation.calibration import calibration_error
from models.interfaces import Answer, Grounding
from train.scratch.questions import Sample

VISIBLE_THRESHOLD = 0.5  # probability from which an answer counts as visible
SMALL = 32.0  # pixels of the resized image: the root of the area of a box that counts as small


@dataclass(frozen=True)
class GrounderMetrics:
    """Metrics of samples. Boxes are compared wherever the target is visible, also if it is called absent."""

    iou: float  # mean box IoU with the target
    success: float  # share of boxes with IoU of at least 0.5
    binding: float  # share of boxes that overlap the target more than any other object
    visible_accuracy: float  # share of right decisions between visible and absent
    absent_precision: float  # share of the targets called absent that are absent; 0 if none is called absent
    absent_recall: float  # share of the absent targets that are called absent; 0 if there are none
    unread: float  # share of answers that hold no box
    small_iou: float  # mean box IoU with targets of less than SMALL pixels; 0 if there are none
    ece: float  # expected calibration error: mean difference between visible probability and frequency

    def __str__(self) -> str:
        return (
            f"IoU {self.iou:.3f}  success@0.5 {self.success:.3f}  binding {self.binding:.3f}  "
            f"visible {self.visible_accuracy:.3f}  absent precision {self.absent_precision:.3f} "
            f"recall {self.absent_recall:.3f}  unread {self.unread:.3f}  small targets: "
            f"IoU {self.small_iou:.3f}  ECE {self.ece:.3f}"
        )


def evaluate_grounder(
    grounder: Grounding, samples: Sequence[Sample], visible_threshold: float = VISIBLE_THRESHOLD
) -> GrounderMetrics:
    """Let the grounder answer the question of each sample, and compare the answers with the truth."""
    # All questions at once; the grounder batches them itself.
    answers = grounder.locate([sample.question for sample in samples])
    return metrics_of(samples, answers, visible_threshold)


def metrics_of(
    samples: Sequence[Sample],
    answers: Sequence[Answer],
    visible_threshold: float = VISIBLE_THRESHOLD,
    small: float = SMALL,
) -> GrounderMetrics:
    """Compare the answers to the questions of samples with the truth.

    Boxes count as small below a root of their area of `small` pixels of the samples' frames.
    """
    pairs = list(zip(samples, answers, strict=True))
    # 1. Box metrics are over visible targets, whatever the answer says about visibility.
    present = [(sample, answer) for sample, answer in pairs if sample.box_resized is not None]
    # 2. Decisions: (whether the target is absent, whether the answer says so).
    absent = [(s.box_resized is None, a.visible < visible_threshold) for s, a in pairs]
    overlaps = [_overlap(sample, answer) for sample, answer in present]
    return GrounderMetrics(
        iou=_mean(overlaps),
        success=_mean([overlap >= 0.5 for overlap in overlaps]),
        binding=_mean([_is_bound(sample, answer) for sample, answer in present]),
        visible_accuracy=_mean([is_absent == said for is_absent, said in absent]),
        absent_precision=_mean([is_absent for is_absent, said in absent if said]),
        absent_recall=_mean([said for is_absent, said in absent if is_absent]),
        unread=_mean([answer.box_xyxy is None for answer in answers]),
        small_iou=_mean([_overlap(sample, answer) for sample, answer in present if _is_small(sample, small)]),
        ece=calibration_error(
            np.array([answer.visible for answer in answers]),
            np.array([sample.box_resized is not None for sample in samples]),
        ),
    )


def _overlap(sample: Sample, answer: Answer) -> float:
    if sample.box_resized is None or answer.box_xyxy is None:
        return 0.0
    return iou(sample.box_resized, answer.box_xyxy)


def _is_small(sample: Sample, side: float) -> bool:
    return sample.box_resized is not None and area(sample.box_resized) < side**2


def _is_bound(sample: Sample, answer: Answer) -> bool:
    """Whether the box overlaps the target, and no other object more."""
    if answer.box_xyxy is None:
        return False
    own = _overlap(sample, answer)
    return own > 0 and all(own >= iou(other, answer.box_xyxy) for other in sample.others)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
