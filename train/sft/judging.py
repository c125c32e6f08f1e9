"""The evaluations of a run: figures by generation on pairs that are never learned from."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from accelerate.utils import gather_object

from configs.errors import UserError
from data_prep.files import writing
from data_prep.sampling.lines import PairPlan
from models.finite import NotFiniteError
from models.grounder.grounder import Grounder
from train.sft.config import SftRecipe
from train.sft.judge import Judged, judge, judgement
from train.sft.metrics import Metrics
from train.sft.pictures import worst_of, write_plot, write_worst
from train.sft.spread import Copies

log = logging.getLogger(__name__)


class Judging:
    """Asks, writes the figures down, and knows the best so far: `best` IoU on the first set, -1 before.

    `judged_at` is the step of the last evaluation, -1 before the first.
    """

    def __init__(
        self,
        recipe: SftRecipe,
        plans: Sequence[PairPlan],
        grounder: Grounder,
        spread: Copies,
        metrics: Metrics,
        out: Path,
    ) -> None:
        self.recipe, self.plans, self.grounder = recipe, plans, grounder
        self.spread, self.metrics, self.out = spread, metrics, out
        self.best, self.judged_at = -1.0, -1

    def due(self, step: int, steps: int) -> bool:
        """Whether there is an evaluation at this step of so many."""
        return step % self.recipe.judge_every == 0 or step == steps

    def judge(self, step: int) -> bool:
        """Figures on every set; whether the first set's are the best so far. All processes call it.

        Each asks its share of the questions; where weights lie in shares, all ask the same at the same time.
        """
        self.judged_at = step
        self.grounder.model.eval()
        try:
            asked = self.spread.within(self._asked)
        except NotFiniteError as fault:
            raise UserError(
                f"step {step}: the weights in training no longer answer with numbers ({fault}); "
                "go on from an earlier checkpoint with a lower recipe.learning_rate"
            ) from None
        self.spread.learner.train()
        judged = [self._gathered(each) for each in asked]
        worst = self._gathered([worst_of(asked[0])] if asked and asked[0] else [], whole=True)
        found = [judgement(each) for each in judged]
        for source, figures in zip(self.recipe.judge, found, strict=True):
            log.info("step %d  %s: %s", step, source.title, figures)
            self.metrics.judged(step, source.title, dataclasses.asdict(figures))
        first = self.spread.accelerator.is_main_process
        if first:
            self._draw(step, worst)
        better = bool(found) and found[0].iou > self.best
        self.best = max([self.best, *(figures.iou for figures in found[:1])])
        # The first process decides for all: the others' last bits may differ.
        return bool(self.spread.summed(int(better and first)))

    def _asked(self) -> list[list[Judged]]:
        """What this process asks of each set."""
        rank, ranks = self.spread.accelerator.process_index, self.spread.accelerator.num_processes
        share = slice(None) if self.spread.together else slice(rank, None, ranks)
        numbers = range(self.recipe.judge_pairs)[share]
        return [judge(self.grounder, plan, numbers) for plan in self.plans]

    def _gathered(self, judged: list[Judged], whole: bool = False) -> list[Judged]:
        """What all processes asked, by number; without pictures unless `whole`."""
        if self.spread.together or self.spread.accelerator.num_processes == 1:
            return judged
        told = judged if whole else [each.without_pictures() for each in judged]
        found: list[Judged] = gather_object(told)
        return sorted(found, key=lambda each: each.asked.number)

    def _draw(self, step: int, worst: list[Judged]) -> None:
        """The curves so far, and the worst answer of the first set."""
        with writing(self.out):
            if self.metrics.path.is_file():  # not where there is nothing to judge on yet
                write_plot(self.metrics.path, self.out / "plot.png")
            if worst:
                write_worst(self.out / f"worst-{step}.png", worst_of(worst))
