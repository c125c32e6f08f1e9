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

import torch
from accelerate import Accelerator

from configs.errors import UserError
from data_prep.folders import tidy, whole_folder
from data_prep.prompts import write_contract
from models.adapters import named_base
from models.config import GrounderConfig
from models.grounder import Grounder
from models.packing import attend_packed
from train.schedule import warmed_cosine
from train.sft.batches import MicroBatch, Split, steps_of
from train.sft.checkpoints import Checkpoints, Standing, check_settings, note_settings
from train.sft.config import SftRecipe
from train.sft.joining import join, leave
from train.sft.judge import Judgement, judge, judgement
from train.sft.learner import Learner
from train.sft.metrics import Metrics
from train.sft.sources import plan_of
from train.sft.spread import Copies
from train.sft.tuning import prepare, sees

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
        self.split = Split(recipe.batch, recipe.micro_batch, accelerator.process_index, ranks)
        settings = {"recipe": dataclasses.asdict(recipe), "model": dataclasses.asdict(model)}
        if accelerator.is_main_process:
            out.mkdir(parents=True, exist_ok=True)
            check_settings(out, settings)
        worlds = out.parent / "worlds"
        with accelerator.main_process_first():
            self.plan = plan_of(recipe.learn, recipe.seed, worlds)
            self.judged = [plan_of(source, recipe.seed, worlds) for source in recipe.judge]
        self.grounder = Grounder.load(dataclasses.replace(model, box_floor=0.0), accelerator.device)
        if self.spread.together:
            self.grounder.without_gradients = torch.no_grad
        self.adapters = prepare(self.grounder.model, recipe.tune, recipe.seed)
        if accelerator.is_main_process:
            note_settings(out, settings)  # what cannot be loaded does not take the folder
        if recipe.packed:
            attend_packed(self.grounder.model)
        if recipe.checkpointing:
            self.grounder.model.gradient_checkpointing_enable({"use_reentrant": False})
        learner = Learner(self.grounder.model, recipe.packed, sees(recipe.tune))
        self.learner = self.spread.prepare(
            learner, partial(torch.optim.AdamW, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        )
        self.weights = self.spread.weights
        self.checkpoints = Checkpoints(out / "checkpoints", recipe.keep)
        self.metrics = Metrics(out, accelerator.is_main_process)
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
        if self.step == self.steps:
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
        counts = torch.tensor([[b.answer_tokens, b.pairs, len(b.unread)] for b in batches]).sum(0)
        tokens, pairs, unread = self._summed(counts).tolist()
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
            seconds=time.monotonic() - begun,
        )

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
            found = self.learner(self._asked) if self.spread.together else self._asked()
            for source, figures in zip(self.recipe.judge, found, strict=True):
                log.info("step %d  %s: %s", self.step, source.title, figures)
                self.metrics.judged(self.step, source.title, dataclasses.asdict(figures))
            better = bool(found) and found[0].iou > self.best
            self.best = max([self.best, *(figures.iou for figures in found[:1])])
        # The first process decides for all: the others' last bits may differ.
        if bool(self._summed(torch.tensor(int(better and self.accelerator.is_main_process)))):
            self._save_weights(self.out / "best")
        if self.accelerator.is_main_process:
            self.checkpoints.note(self._standing())
        self.learner.train()

    def _asked(self) -> list[Judgement]:
        return [judgement(judge(self.grounder, plan, self.recipe.judge_pairs)) for plan in self.judged]

    def _save_weights(self, folder: Path) -> None:
        """Write adapters, or all weights, as `from_pretrained` reads them, with contract and processor."""
        inner = dict(self.grounder.model.named_parameters())
        if self.adapters is not None:
            inner = {name: weight for name, weight in inner.items() if weight.requires_grad}
        weights = self.spread.whole(inner)
        if not self.accelerator.is_main_process:
            return
        with whole_folder(folder) as temporary:
            if self.adapters is None:
                self.grounder.model.save_pretrained(str(temporary), state_dict=weights)
            else:
                named_base(self.adapters, self.model.checkpoint)
                prefixed = {f"base_model.model.{name}": weight for name, weight in weights.items()}
                self.adapters.save_pretrained(str(temporary), state_dict=prefixed)
            self.grounder.encoder.processor.save_pretrained(temporary)
            write_contract(temporary, self.grounder.contract)


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
    spread = join(recipe, strategy, deepspeed, device)
    SftTraining(recipe, model, out, spread.accelerator, spread).run()
    leave()
