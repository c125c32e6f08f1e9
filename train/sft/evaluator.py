"""Evaluation by generation: the model answers held-out pairs as in inference, and boxes are compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accelerate.utils import gather_object

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import writing
from data_prep.geometry import iou
from data_prep.sampling.lines import PairPlan
from models.checkpoint import NotFiniteError
from models.grounder.grounder import Grounder
from models.interfaces import Answer, Grounding
from train.loop.objective import Evaluation
from train.loop.strategies import Strategy
from train.pairs import PairQuestions, PairSample
from train.sft.config import SftRecipe

VISIBLE_THRESHOLD = 0.5  # probability from which an answer counts as "visible"
SUCCESS_IOU = 0.5  # IoU from which a box counts as a success
GENERATION_BATCH = 16  # questions answered at once
EMPTY_IMAGE = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True)
class EvalMetrics:
    """Metrics of a set of pairs.

    Boxes are compared wherever the target is visible, also where the answer says that it is absent.
    """

    iou: float  # mean IoU of the decoded boxes with the target's
    success: float  # share of boxes with an IoU of at least 0.5
    visible_accuracy: float  # share of right decisions between visible and absent
    absent_recall: float | None  # share of the absent targets that are called absent; None: there are none
    unread: float  # share of answers about a visible target that hold no box
    pairs: int

    def __str__(self) -> str:
        absent = "-" if self.absent_recall is None else f"{self.absent_recall:.3f}"
        return (
            f"IoU {self.iou:.3f}  success@0.5 {self.success:.3f}  visible {self.visible_accuracy:.3f}  "
            f"absent recall {absent}  unread {self.unread:.3f}  ({counted(self.pairs, 'pair')})"
        )


@dataclass(frozen=True, eq=False)
class EvaluatedPair:
    """A question with the model's answer; `iou` of its box with the target's is None where it is absent."""

    sample: PairSample
    answer: Answer
    iou: float | None

    def without_images(self) -> "EvaluatedPair":
        """A copy that is small enough to be sent to other processes."""
        question = replace(self.sample.question, image=EMPTY_IMAGE, template=None)
        return replace(self, sample=replace(self.sample, question=question))


class Evaluator:
    """Evaluates a model in training on every evaluation set of a recipe."""

    def __init__(
        self,
        recipe: SftRecipe,
        plans: Sequence[PairPlan],
        grounder: Grounder,
        strategy: Strategy,
        out: Path,
    ) -> None:
        self.recipe, self.plans, self.grounder = recipe, plans, grounder
        self.strategy, self.out = strategy, out
        self._worst: list[EvaluatedPair] = []  # of the first set, in the last evaluation

    def evaluate(self, step: int) -> Evaluation:
        """The metrics of every set. All processes call it. Raises UserError if the answers are not finite."""
        # 1. Answer the questions, each process its share of them.
        #    Dropout must be off, as in inference.
        self.grounder.model.eval()
        try:
            local = self.strategy.run_inference(self._evaluate_local)
        except NotFiniteError as fault:
            raise UserError(
                f"step {step}: the outputs of the model in training are not finite ({fault}); resume from an "
                "earlier checkpoint with a lower recipe.learning_rate"
            ) from None
        self.strategy.model.train()
        # 2. Gather the answers of all processes, and of the first set the worst one with its images.
        gathered = [self._gather([pair.without_images() for pair in pairs]) for pairs in local]
        self._worst = self._gather([worst_pair(local[0])] if local and local[0] else [])
        # 3. The metrics of each set.
        results = [compute_metrics(pairs) for pairs in gathered]
        titles = [source.title for source in self.recipe.evaluate]
        score = results[0].iou if results else None
        return Evaluation(list(zip(titles, results, strict=True)), score)

    def _evaluate_local(self) -> list[list[EvaluatedPair]]:
        """The pairs of each set that this process evaluates.

        With sharded parameters all processes answer all questions together.
        """
        accelerator = self.strategy.accelerator
        # Pair n goes to process n modulo their number.
        share = slice(accelerator.process_index, None, accelerator.num_processes)
        numbers = range(self.recipe.evaluate_pairs)[slice(None) if self.strategy.is_sharded else share]
        return [evaluate_pairs(self.grounder, plan, numbers) for plan in self.plans]

    def _gather(self, pairs: list[EvaluatedPair]) -> list[EvaluatedPair]:
        """The pairs of all processes, by number."""
        # With sharded parameters every process has answered all questions.
        if self.strategy.is_sharded or self.strategy.accelerator.num_processes == 1:
            return pairs
        gathered: list[EvaluatedPair] = gather_object(pairs)
        return sorted(gathered, key=lambda pair: pair.sample.number)

    def draw(self, step: int, metrics_file: Path) -> None:
        """Draw the curves so far, and the worst answer of the first set in the last evaluation."""
        from train.sft.plots import write_pair, write_plot  # matplotlib takes long to import

        with writing(self.out):
            if metrics_file.is_file():  # there is none without steps and without evaluation sets
                write_plot(metrics_file, self.out / "plot.png")
            if self._worst:
                write_pair(self.out / f"worst-{step}.png", worst_pair(self._worst))


def evaluate_pairs(
    grounder: Grounding, plan: PairPlan, numbers: range, batch: int = GENERATION_BATCH
) -> list[EvaluatedPair]:
    """Answer the questions about the pairs of these numbers; pairs that cannot be read are left out."""
    source = PairQuestions(plan, grounder.contract)
    evaluated: list[EvaluatedPair] = []
    for start in range(0, len(numbers), batch):
        samples = [source[number] for number in numbers[start : start + batch]]
        readable = [sample for sample in samples if isinstance(sample, PairSample)]
        answers = grounder.locate([sample.question for sample in readable])
        evaluated += [
            EvaluatedPair(sample, answer, _iou(sample, answer))
            for sample, answer in zip(readable, answers, strict=True)
        ]
    return evaluated


def _iou(sample: PairSample, answer: Answer) -> float | None:
    if sample.box_resized is None:
        return None
    # The question's image is the resized one, so the answer's box is in its pixels too.
    return 0.0 if answer.box_xyxy is None else iou(sample.box_resized, answer.box_xyxy)


def compute_metrics(pairs: Sequence[EvaluatedPair]) -> EvalMetrics:
    """The metrics of evaluated pairs; 0 for a mean over nothing."""
    # An IoU exists where the target is visible, so `iou is None` means that it is absent.
    ious = [pair.iou for pair in pairs if pair.iou is not None]
    right = [(pair.answer.visible >= VISIBLE_THRESHOLD) == (pair.iou is not None) for pair in pairs]
    absent = [pair.answer.visible < VISIBLE_THRESHOLD for pair in pairs if pair.iou is None]
    unread = [pair.answer.box_xyxy is None for pair in pairs if pair.iou is not None]
    return EvalMetrics(
        iou=_mean(ious),
        success=_mean([value >= SUCCESS_IOU for value in ious]),
        visible_accuracy=_mean(right),
        absent_recall=_mean(absent) if absent else None,
        unread=_mean(unread),
        pairs=len(pairs),
    )


def worst_pair(pairs: Sequence[EvaluatedPair]) -> EvaluatedPair:
    """The pair with the worst answer: the lowest IoU, or the highest "visible" for an absent target.

    Among equally bad answers, the one with the most confident box.
    """

    def quality(pair: EvaluatedPair) -> float:
        return 1 - pair.answer.visible if pair.iou is None else pair.iou

    return min(pairs, key=lambda pair: (quality(pair), -pair.answer.box_confidence))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
