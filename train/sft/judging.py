"""The evaluations of a run: figures by generation on pairs that are never learned from."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from data_prep.files import writing
from data_prep.sampling.lines import PairPlan
from models.grounder import Grounder
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

        Where weights lie in shares, every process asks the same questions at the same time.
        """
        self.judged_at = step
        first, better = self.spread.accelerator.is_main_process, False
        if first or self.spread.together:
            self.grounder.model.eval()
            judged = self.spread.within(self._asked)
            found = [judgement(each) for each in judged]
            for source, figures in zip(self.recipe.judge, found, strict=True):
                log.info("step %d  %s: %s", step, source.title, figures)
                self.metrics.judged(step, source.title, dataclasses.asdict(figures))
            if first:
                self._draw(step, judged)
            better = bool(found) and found[0].iou > self.best
            self.best = max([self.best, *(figures.iou for figures in found[:1])])
        self.spread.learner.train()
        # The first process decides for all: the others' last bits may differ.
        return bool(self.spread.summed(int(better and first)))

    def _asked(self) -> list[list[Judged]]:
        return [judge(self.grounder, plan, self.recipe.judge_pairs) for plan in self.plans]

    def _draw(self, step: int, judged: list[list[Judged]]) -> None:
        """The curves so far, and the worst answer of the first set."""
        with writing(self.out):
            if self.metrics.path.is_file():  # not where there is nothing to judge on yet
                write_plot(self.metrics.path, self.out / "plot.png")
            if judged and judged[0]:
                write_worst(self.out / f"worst-{step}.png", worst_of(judged[0]))
