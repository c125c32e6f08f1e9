"""Fine-tuning from settings to weights: steps over pairs, on one process or many.

What step n learns follows from the seed and n alone, so a run that was stopped and goes on ends with the
same weights as an unbroken one, to the last bit on a CPU.
"""

import dataclasses
import logging
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

from configs.errors import UserError
from configs.record import versions
from data_prep.folders import tidy
from models.config import GrounderConfig
from models.fast_adapters import quicken_adapters
from models.packing import attend_packed
from train.schedule import warmed_cosine
from train.sft.arithmetic import arithmetic_of, peak_of
from train.sft.batches import MicroBatch, Split, steps_of
from train.sft.checkpoints import Checkpoints, Standing, check_settings, note_settings
from train.sft.config import SftRecipe
from train.sft.joining import join, leave
from train.sft.judge import Judged, judge, judgement
from train.sft.learner import Learner
from train.sft.memory import fitting
from train.sft.metrics import Metrics
from train.sft.pictures import worst_of, write_plot, write_worst
from train.sft.saving import save_weights
from train.sft.sources import plan_of
from train.sft.spread import Copies
from train.sft.teaching import check_model, load_taught
from train.sft.tracking import begin, tracked
from train.sft.tuning import prepare, sees
from train.sft.warnings import doubtful

SEED_STRIDE = 1_000_003  # between the seeds of steps and ranks
log = logging.getLogger(__name__)


class SftTraining:
    """A grounder, what of it learns, and where the run stands."""

    def __init__(
        self,
        recipe: SftRecipe,
        model: GrounderConfig,
        out: Path,
        accelerator: Accelerator,
        spread: Copies | None = None,
    ) -> None:
        self.recipe, self.model, self.out, self.accelerator = recipe, model, out, accelerator
        self.stopping = False
        signal.signal(signal.SIGTERM, self._stop)
        self.spread = spread or Copies(accelerator)
        ranks = accelerator.num_processes
        if recipe.batch % ranks:
            raise UserError(f"recipe.batch={recipe.batch}: {ranks} processes do not share it evenly")
        check_model(recipe, model)
        self.split = Split(recipe.batch, recipe.micro_batch, accelerator.process_index, ranks)
        settings = {"recipe": dataclasses.asdict(recipe), "model": dataclasses.asdict(model)}
        if accelerator.is_main_process:
            out.mkdir(parents=True, exist_ok=True)
            check_settings(out, settings)
        worlds = out.parent / "worlds"
        with accelerator.main_process_first():
            self.plan = plan_of(recipe.learn, recipe.seed, worlds)
            self.judged = [plan_of(source, recipe.seed, worlds) for source in recipe.judged]
        self.grounder, tokens = load_taught(recipe, model, accelerator.device)
        if self.spread.together:
            self.grounder.without_gradients = torch.no_grad
        self.adapters = prepare(self.grounder.model, recipe.tune, recipe.seed, tokens)
        quicken_adapters(self.grounder.model)
        if accelerator.is_main_process:
            note_settings(out, settings)  # what cannot be loaded does not take the folder
        if recipe.packed:
            attend_packed(self.grounder.model)
        self.arithmetic = arithmetic_of(self.grounder.model, recipe.tune)
        if recipe.checkpointing:
            self.grounder.model.gradient_checkpointing_enable({"use_reentrant": False})
        learner = Learner(self.grounder.model, recipe.packed, sees(recipe.tune))
        self.learner = self.spread.prepare(
            learner, partial(torch.optim.AdamW, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        )
        self.weights = self.spread.weights
        self.checkpoints = Checkpoints(out / "checkpoints", recipe.keep)
        peak = peak_of(accelerator.device)
        self.metrics = Metrics(out, accelerator.is_main_process, peak and peak * ranks, accelerator.log)
        sets = list(zip(recipe.judge, self.judged, strict=True))
        if accelerator.is_main_process:
            for line in doubtful(self.grounder.contract, (recipe.learn, self.plan), sets):
                log.warning("%s", line)
        self.step = self.unread = 0
        self.best, self.judged_at = -1.0, -1

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run; pairs that do not fill one are left."""
        return max(1, self.recipe.pairs // self.recipe.batch)

    # ---- the run -----------------------------------------------------------------------------

    def run(self, stop: int | None = None) -> bool:
        """Train to the end, or on from where an earlier run stopped; whether the end was reached.

        `stop` ends the run after that step, its state saved, as a signal would.
        """
        if self.recipe.threads:
            torch.set_num_threads(self.recipe.threads)
        self._resume()
        last = self.steps if stop is None else min(stop, self.steps)
        if self._due() and self.judged_at != self.step:
            self._judge()
        numbers = range(self.step, last)
        self.learner.train()
        begun = time.monotonic()
        for batches in steps_of(self.plan, self.grounder.encoder, self.split, numbers, self.recipe.workers):
            with fitting(self.split.micro_batch):
                self._take_step(batches)
            if self.step % self.recipe.log_every == 0 or self.step == last:
                pace = (time.monotonic() - begun) / (self.step - numbers.start)
                self.metrics.tell(self.step, self.steps, pace)
            stopping = self._anyone_stops()
            if stopping or self._due() or self.step % self.recipe.checkpoint_every == 0 or self.step == last:
                self._save()
            if stopping:
                log.info("stopped at step %d; run it again to go on", self.step)
                return False
            if self._due():  # behind the checkpoint, since it takes longer than a cluster waits
                self._judge()
        if self.step == self.steps and (numbers or not (self.out / "final").is_dir()):
            self._save_weights(self.out / "final")
        return self.step == self.steps

    def _due(self) -> bool:
        """Whether there is an evaluation at this step."""
        return self.step % self.recipe.judge_every == 0 or self.step == self.steps

    def _take_step(self, batches: Sequence[MicroBatch]) -> None:
        """One optimizer step: the loss is the mean over the answer tokens of all processes."""
        recipe, begun = self.recipe, time.monotonic()
        warm = max(1, round(recipe.warmup * self.steps))
        floor = 1.0 if recipe.schedule == "constant" else 0.0
        rate = recipe.learning_rate * warmed_cosine(self.step, self.steps, warm, floor)
        self.spread.set_rate(rate)
        torch.manual_seed((recipe.seed * SEED_STRIDE + self.step) * SEED_STRIDE + self.split.rank)
        counts = torch.tensor([self._counted(batch) for batch in batches]).sum(0)
        tokens, pairs, unread, read, operations = self._summed(counts).tolist()
        self._told_unread(batches, unread, pairs)
        total = torch.zeros((), device=self.accelerator.device)
        for number, batch in enumerate(batches):
            with self.spread.micro_batch(number == len(batches) - 1):
                loss = self.learner(batch.to(self.accelerator.device)) / max(tokens, 1)
                self.spread.backward(loss * self.spread.scale)
            total += loss.detach()
        mean = float(self._summed(total))
        if not torch.isfinite(torch.tensor(mean)):
            raise FloatingPointError(f"loss is {mean} at step {self.step}; lower recipe.learning_rate")
        norm = self.spread.update(recipe.clip)
        self.step += 1
        self.metrics.add(
            loss=mean,
            norm=norm,
            rate=rate,
            pairs=pairs,
            tokens=tokens,
            read=read,
            operations=operations,
            seconds=time.monotonic() - begun,
        )

    def _counted(self, batch: MicroBatch) -> list[int]:
        """Answer tokens, pairs, unread pairs, tokens read, and operations of a micro-batch."""
        counts = [batch.answer_tokens, batch.pairs, len(batch.unread)]
        if not batch.pairs:
            return [*counts, 0, 0]
        inputs = batch.encoded.inputs
        lengths = inputs["attention_mask"].sum(1)
        operations = self.arithmetic.of(lengths, inputs["image_grid_thw"], batch.answer_tokens)
        return [*counts, int(lengths.sum()), operations]

    def _summed(self, value: torch.Tensor) -> torch.Tensor:
        summed: torch.Tensor = self.accelerator.reduce(value.to(self.accelerator.device), "sum")
        return summed

    def _told_unread(self, batches: Sequence[MicroBatch], unread: int, pairs: int) -> None:
        """Name what could not be read; raises UserError where it is too much."""
        for batch in batches:
            for each in batch.unread:
                log.warning("pair %d left out: %s", each.number, each.reason)
        self.unread += unread
        seen = self.step * self.recipe.batch + pairs + unread
        if unread and self.unread > max(1.0, self.recipe.bad_share * max(seen, self.recipe.batch)):
            raise UserError(
                f"{self.unread} of {seen} pairs cannot be read, more than recipe.bad_share="
                f"{self.recipe.bad_share}; find the files with task=check, and leave them out"
            )

    # ---- stopping and going on ---------------------------------------------------------------

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.stopping = True

    def _anyone_stops(self) -> bool:
        return bool(self._summed(torch.tensor(int(self.stopping))))

    def _standing(self) -> Standing:
        strategy, ranks = self.spread.strategy, self.split.ranks
        return Standing(self.step, self.unread, self.best, self.judged_at, strategy, ranks)

    def _save(self) -> None:
        self.checkpoints.save(self._standing(), self.spread, self.accelerator)

    def _resume(self) -> None:
        if self.accelerator.is_main_process:
            for folder in (self.out, self.checkpoints.folder):
                tidy(folder)
        self.accelerator.wait_for_everyone()
        standing = self.checkpoints.newest(self.spread, self.split.ranks)
        if standing is not None:
            path = self.checkpoints.path(standing.step)
            self.spread.load(path)
            self.step, self.unread = standing.step, standing.unread
            self.best, self.judged_at = standing.best, standing.judged
            log.info("going on from step %d in %s", self.step, path)
        self.metrics.go_on_from(self.step, self.judged_at == self.step)

    # ---- judging and keeping -----------------------------------------------------------------

    def _judge(self) -> None:
        """Figures by generation on every set of pairs to be judged on; the best weights are kept.

        Where weights lie in shares, every process asks the same questions at the same time.
        """
        self.judged_at = self.step
        better = False
        if self.accelerator.is_main_process or self.spread.together:
            self.grounder.model.eval()
            judged = self.learner(self._asked) if self.spread.together else self._asked()
            found = [judgement(each) for each in judged]
            for source, figures in zip(self.recipe.judge, found, strict=True):
                log.info("step %d  %s: %s", self.step, source.title, figures)
                self.metrics.judged(self.step, source.title, dataclasses.asdict(figures))
            if self.accelerator.is_main_process:
                self._draw(judged)
            better = bool(found) and found[0].iou > self.best
            self.best = max([self.best, *(figures.iou for figures in found[:1])])
        # The first process decides for all: the others' last bits may differ.
        if bool(self._summed(torch.tensor(int(better and self.accelerator.is_main_process)))):
            self._save_weights(self.out / "best")
        if self.accelerator.is_main_process:
            self.checkpoints.note(self._standing())
        self.learner.train()

    def _asked(self) -> list[list[Judged]]:
        return [judge(self.grounder, plan, self.recipe.judge_pairs) for plan in self.judged]

    def _draw(self, judged: list[list[Judged]]) -> None:
        """The curves so far, and the worst answer of the first set."""
        if self.metrics.path.is_file():  # not where there is nothing to judge on yet
            write_plot(self.metrics.path, self.out / "plot.png")
        if judged and judged[0]:
            write_worst(self.out / f"worst-{self.step}.png", worst_of(judged[0]))

    def _save_weights(self, folder: Path) -> None:
        """Write adapters, or all weights, as `from_pretrained` reads them, with contract and processor."""
        inner = dict(self.grounder.model.named_parameters())
        if self.adapters is not None:
            inner = {name: weight for name, weight in inner.items() if weight.requires_grad}
        weights = self.spread.whole(inner)
        if not self.accelerator.is_main_process:
            return
        save_weights(folder, self.adapters or self.grounder.model, self.grounder, self._about(), weights)

    def _about(self) -> dict[str, Any]:
        """What is told beside saved weights of how they came to be."""
        return {
            "data": self.recipe.learn.title,
            "model": self.model.checkpoint,
            "step": self.step,
            "steps": self.steps,
            "pairs": self.step * self.recipe.batch,
            "figures": self.metrics.latest(),
            "recipe": dataclasses.asdict(self.recipe),
            "versions": versions(),
        }


def train_sft(
    recipe: SftRecipe,
    model: GrounderConfig,
    out: Path,
    device: torch.device,
    strategy: str = "ddp",
    deepspeed: Path | None = None,
) -> None:
    """Fine-tune to the end, or go on where an earlier run of the same settings stopped.

    `strategy` says what each process holds (train/launch/config.py).
    """
    spread = join(recipe, strategy, deepspeed, device, tracked(recipe.report_to, out))
    training = SftTraining(recipe, model, out, spread.accelerator, spread)
    begin(spread.accelerator, recipe.name, out, dataclasses.asdict(recipe))
    training.run()
    spread.accelerator.end_training()
    leave()
