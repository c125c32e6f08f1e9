"""How well a grounder answers drawn samples."""

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.geometry import iou
from models.grounder import Answer, Grounder
from train.samples import Sample


@dataclass(frozen=True)
class GrounderFigures:
    """Shares over a set of samples. Boxes are judged where the target is there, whatever was decided."""

    iou: float  # mean box IoU with the target
    success: float  # share of boxes with IoU of at least 0.5
    binding: float  # share of boxes nearer to the target than to any other thing
    visible_accuracy: float  # share of right decisions
    unread: float  # share of answers that hold no box

    def __str__(self) -> str:
        return (
            f"IoU {self.iou:.3f}  success@0.5 {self.success:.3f}  binding {self.binding:.3f}  "
            f"visible {self.visible_accuracy:.3f}  unread {self.unread:.3f}"
        )


def measure(grounder: Grounder, samples: Sequence[Sample]) -> GrounderFigures:
    """Ask the grounder every sample's question and compare."""
    answers = grounder.locate([sample.question for sample in samples])
    pairs = list(zip(samples, answers, strict=True))
    present = [(sample, answer) for sample, answer in pairs if sample.box_resized is not None]
    overlaps = [_overlap(sample, answer) for sample, answer in present]
    return GrounderFigures(
        iou=_mean(overlaps),
        success=_mean([overlap >= 0.5 for overlap in overlaps]),
        binding=_mean([_is_bound(sample, answer) for sample, answer in present]),
        visible_accuracy=_mean([(a.visible >= 0.5) == (s.box_resized is not None) for s, a in pairs]),
        unread=_mean([answer.box_xyxy is None for answer in answers]),
    )


def _overlap(sample: Sample, answer: Answer) -> float:
    if sample.box_resized is None or answer.box_xyxy is None:
        return 0.0
    return iou(sample.box_resized, answer.box_xyxy)


def _is_bound(sample: Sample, answer: Answer) -> bool:
    """Whether the box lies on the named thing rather than on another, or on none."""
    if answer.box_xyxy is None:
        return False
    own = _overlap(sample, answer)
    return own > 0 and all(own >= iou(other, answer.box_xyxy) for other in sample.others)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
