"""How good a grounder is on pairs it never learned from, by what it generates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from configs.terminal import counted
from data_prep.geometry import iou
from data_prep.sampling.lines import PairPlan
from models.interfaces import Answer, Grounding
from train.pairs import Asked, PairQuestions

VISIBLE_ABOVE = 0.5  # probability from which a grounder is taken to see the target
NO_PICTURE = np.zeros((0, 0, 3), np.uint8)
HIT = 0.5  # IoU from which a box counts as a success


@dataclass(frozen=True)
class Judgement:
    """Shares over pairs. Boxes are judged where the target is there, whatever was said of its presence."""

    iou: float  # mean IoU of decoded boxes with the target
    success: float  # share of boxes with an IoU of at least 0.5
    visible_accuracy: float  # share of right decisions
    absent_recall: float | None  # of the absent targets, the share called absent; None: there is none
    unread: float  # share of answers about a target that is there in which no box could be read
    pairs: int

    def __str__(self) -> str:
        absent = "-" if self.absent_recall is None else f"{self.absent_recall:.3f}"
        return (
            f"IoU {self.iou:.3f}  success@0.5 {self.success:.3f}  visible {self.visible_accuracy:.3f}  "
            f"absent recall {absent}  unread {self.unread:.3f}  ({counted(self.pairs, 'pair')})"
        )


@dataclass(frozen=True, eq=False)
class Judged:
    """A question, what was said, and how well the box fits (None: the target is not there)."""

    asked: Asked
    answer: Answer
    overlap: float | None

    def without_pictures(self) -> "Judged":
        """The same, small enough to be told to other processes."""
        question = replace(self.asked.question, image=NO_PICTURE, template=None)
        return replace(self, asked=replace(self.asked, question=question))


def judge(grounder: Grounding, plan: PairPlan, numbers: range, batch: int = 16) -> list[Judged]:
    """Ask about the pairs of these numbers; those that cannot be read are left out."""
    source = PairQuestions(plan, grounder.contract)
    judged: list[Judged] = []
    for start in range(0, len(numbers), batch):
        found = [source[number] for number in numbers[start : start + batch]]
        asked = [sample for sample in found if isinstance(sample, Asked)]
        answers = grounder.locate([sample.question for sample in asked])
        judged += [Judged(*both, _overlap(*both)) for both in zip(asked, answers, strict=True)]
    return judged


def _overlap(asked: Asked, answer: Answer) -> float | None:
    if asked.box_resized is None:
        return None
    # The question's image is the resized one, so the answer's box is in its pixels too.
    return 0.0 if answer.box_xyxy is None else iou(asked.box_resized, answer.box_xyxy)


def judgement(judged: Sequence[Judged]) -> Judgement:
    """The figures of judged pairs."""
    overlaps = [each.overlap for each in judged if each.overlap is not None]
    right = [(each.answer.visible >= VISIBLE_ABOVE) == (each.overlap is not None) for each in judged]
    absent = [each.answer.visible < VISIBLE_ABOVE for each in judged if each.overlap is None]
    unread = [each.answer.box_xyxy is None for each in judged if each.overlap is not None]
    return Judgement(
        iou=_mean(overlaps),
        success=_mean([overlap >= HIT for overlap in overlaps]),
        visible_accuracy=_mean(right),
        absent_recall=_mean(absent) if absent else None,
        unread=_mean(unread),
        pairs=len(judged),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
