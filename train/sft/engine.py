"""Fine-tuning from settings to weights: steps over pairs, on one process or many.

What step n learns follows from the seed and n alone, so a run that was stopped and goes on ends with the
same weights as an unbroken one, to the last bit on a CPU.
"""

import dataclasses
import logging
import signal
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

from configs.errors import UserError
from configs.record import versions
from models.adapters import named_base
from models.config import GrounderConfig
from models.fast_adapters import quicken_adapters
from models.packing import attend_packed
from train.schedule import warmed_cosine
from train.sft.arithmetic import arithmetic_of, peak_of
from train.sft.batches import MicroBatch, Split, steps_of
from train.sft.checkpoints import Checkpoints, check_settings
from train.sft.config import SftRecipe
from train.sft.judge import Judgement, judge, judgement
from train.sft.learner import Learner
from train.sft.memory import fitting
from train.sft.metrics import Metrics
from train.sft.pictures import worst_of, write_plot, write_worst
from train.sft.saving import save_weights
from train.sft.sources import plan_of
from train.sft.teaching import check_model, load_taught
from train.sft.tracking import begin, tracked
from train.sft.tuning import prepare, sees
from train.sft.warnings import doubtful

SEED_STRIDE = 1_000_003  # between the seeds of steps and ranks
log = logging.getLogger(__name__)


class SftTraining:
    """A grounder, what of it learns, and where the run stands."""

    def __init__(self, recipe: SftRecipe, model: GrounderConfig, out: Path, accelerator: Accelerator) -> None:
        self.recipe, self.model, self.out, self.accelerator = recipe, model, out, accelerator
        ranks = accelerator.num_processes
        if recipe.batch % ranks:
            raise UserError(f"recipe.batch={recipe.batch}: {ranks} processes do not share it evenly")
        check_model(recipe, model)
        self.split = Split(recipe.batch, recipe.micro_batch, accelerator.process_index, ranks)
        if accelerator.is_main_process:
            out.mkdir(parents=True, exist_ok=True)
            check_settings(out, {"recipe": dataclasses.asdict(recipe), "model": dataclasses.asdict(model)})
        worlds = out.parent / "worlds"
        with accelerator.main_process_first():
            self.plan = plan_of(recipe.learn, recipe.seed, worlds)
            self.judged = [plan_of(source, recipe.seed, worlds) for source in recipe.judged]
        self.grounder, tokens = load_taught(recipe, model, accelerator.device)
        self.adapters = prepare(self.grounder.model, recipe.tune, recipe.seed, tokens)
        quicken_adapters(self.grounder.model)
        if recipe.packed:
            attend_packed(self.grounder.model)
        self.arithmetic = arithmetic_of(self.grounder.model, recipe.tune)
        if recipe.checkpointing:
            self.grounder.model.gradient_checkpointing_enable({"use_reentrant": False})
        learner = Learner(self.grounder.model, recipe.packed, sees(recipe.tune))
        self.weights = {name: weight for name, weight in learner.named_parameters() if weight.requires_grad}
        optimizer = torch.optim.AdamW(
            list(self.weights.values()), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.learner, self.optimizer = accelerator.prepare(learner, optimizer)
        self.checkpoints = Checkpoints(out / "checkpoints", recipe.keep)
        peak = peak_of(accelerator.device)
        self.metrics = Metrics(out, accelerator.is_main_process, peak and peak * ranks, accelerator.log)
        sets = list(zip(recipe.judge, self.judged, strict=True))
        if accelerator.is_main_process:
            for line in doubtful(self.grounder.contract, (recipe.learn, self.plan), sets):
                log.warning("%s", line)
        self.step = self.unread = 0
        self.best = -1.0
        self.stopping = False

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
        signal.signal(signal.SIGTERM, self._stop)
        last = self.steps if stop is None else min(stop, self.steps)
        if self.step == 0:
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
            if self.step % self.recipe.judge_every == 0 or self.step == self.steps:
                self._judge()
            stopping = self._anyone_stops()
            if stopping or self.step % self.recipe.checkpoint_every == 0 or self.step == last:
                self._save()
            if stopping:
                log.info("stopped at step %d; run it again to go on", self.step)
                return False
        if self.step == self.steps and (numbers or not (self.out / "final").is_dir()):
            self._save_weights(self.out / "final")
        return self.step == self.steps

    def _take_step(self, batches: Sequence[MicroBatch]) -> None:
        """One optimizer step: the loss is the mean over the answer tokens of all processes."""
        recipe, begun = self.recipe, time.monotonic()
        warm = max(1, round(recipe.warmup * self.steps))
        floor = 1.0 if recipe.schedule == "constant" else 0.0
        rate = recipe.learning_rate * warmed_cosine(self.step, self.steps, warm, floor)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed((recipe.seed * SEED_STRIDE + self.step) * SEED_STRIDE + self.split.rank)
        counts = torch.tensor([self._counted(batch) for batch in batches]).sum(0)
        tokens, pairs, unread, read, operations = self._summed(counts).tolist()
        self._told_unread(batches, unread, pairs)
        total = torch.zeros((), device=self.accelerator.device)
        self.optimizer.zero_grad()
        for number, batch in enumerate(batches):
            with self._syncing(number == len(batches) - 1):
                loss = self.learner(batch.to(self.accelerator.device)) / max(tokens, 1)
                # Gradients are averaged over processes; the loss is one sum over all of them.
                self.accelerator.backward(loss * self.split.ranks)
            total += loss.detach()
        mean = float(self._summed(total))
        if not torch.isfinite(torch.tensor(mean)):
            raise FloatingPointError(f"loss is {mean} at step {self.step}; lower recipe.learning_rate")
        norm = self.accelerator.clip_grad_norm_(list(self.weights.values()), recipe.clip)
        self.optimizer.step()
        self.step += 1
        self.metrics.add(
            loss=mean,
            norm=float(norm),
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
        if batch.encoded is None:
            return [*counts, 0, 0]
        inputs = batch.encoded.inputs
        lengths = inputs["attention_mask"].sum(1)
        operations = self.arithmetic.of(lengths, inputs["image_grid_thw"], batch.answer_tokens)
        return [*counts, int(lengths.sum()), operations]

    def _syncing(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients travel between processes with the last micro-batch of a step."""
        return nullcontext() if last else self.accelerator.no_sync(self.learner)

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

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            state = {
                "weights": {name: weight.detach() for name, weight in self.weights.items()},
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "unread": self.unread,
                "best": self.best,
            }
            self.checkpoints.save(self.step, state)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        state = self.checkpoints.newest(self.accelerator.device)
        if state is None:
            return
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.unread, self.best = state["step"], state["unread"], state["best"]
        log.info("going on from step %d in %s", self.step, self.checkpoints.path(self.step))

    # ---- judging and keeping -----------------------------------------------------------------

    def _judge(self) -> list[Judgement]:
        """Figures by generation on every set of pairs to be judged on; the best weights are kept."""
        if not self.accelerator.is_main_process:
            return []
        self.grounder.model.eval()
        judged = [judge(self.grounder, plan, self.recipe.judge_pairs) for plan in self.judged]
        found = [judgement(each) for each in judged]
        self.learner.train()
        for source, figures in zip(self.recipe.judge, found, strict=True):
            log.info("step %d  %s: %s", self.step, source.title, figures)
            self.metrics.judged(self.step, source.title, dataclasses.asdict(figures))
        write_plot(self.metrics.path, self.out / "plot.png")
        if judged and judged[0]:
            write_worst(self.out / f"worst-{self.step}.png", worst_of(judged[0]))
        if found and found[0].iou > self.best:
            self.best = found[0].iou
            self._save_weights(self.out / "best")
        return found

    def _save_weights(self, folder: Path) -> None:
        """Write adapters, or all weights, as `from_pretrained` reads them, with contract and processor."""
        if not self.accelerator.is_main_process:
            return
        if self.adapters is not None:
            named_base(self.adapters, self.model.checkpoint)
        save_weights(folder, self.adapters or self.grounder.model, self.grounder, self._about())

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


def train_sft(recipe: SftRecipe, model: GrounderConfig, out: Path, device: torch.device) -> None:
    """Fine-tune to the end, or go on where an earlier run of the same settings stopped."""
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if device.type == "cuda" else "no",
        **tracked(recipe.report_to, out),
    )
    training = SftTraining(recipe, model, out, accelerator)
    begin(accelerator, recipe.name, out, dataclasses.asdict(recipe))
    training.run()
    accelerator.end_training()
