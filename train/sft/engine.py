"""Fine-tuning from settings to weights: steps over pairs, on one process or many.

What step n learns follows from the seed and n alone, so a run that was stopped and goes on ends with the
same weights as an unbroken one, to the last bit on a CPU.
"""

import dataclasses
import logging
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator

from configs.errors import UserError
from data_prep.folders import tidy
from models.checkpoint import choose_dtype
from models.config import GrounderConfig
from models.grounder.adapters import named_base
from models.identity import checkpoint_identity
from models.kernels.attention import use_packed_attention
from models.kernels.fused import apply_liger, fuse_lora_layers
from train.identity import CHECKPOINT, Identity, check_identity, check_noted, note_identity, noted
from train.schedule import warmed_cosine
from train.sft.arithmetic import arithmetic_of, peak_of
from train.sft.batches import MicroBatch, steps_of, workers_of
from train.sft.checkpoints import Checkpoints, Standing
from train.sft.config import SftRecipe
from train.sft.identity import identity_of_run
from train.sft.joining import join, leave
from train.sft.judging import Judging
from train.sft.learner import Learner
from train.sft.memory import fitting
from train.sft.metrics import Metrics
from train.sft.saving import Results
from train.sft.sources import plan_of, worlds_of
from train.sft.split import ImageTokens, Split
from train.sft.spread import Copies
from train.sft.teaching import check_model, load_taught
from train.sft.tracking import begin, tracked
from train.sft.tuning import prepare, sees
from train.sft.unread import UnreadCount
from train.sft.warnings import doubtful
from train.signals import Stop, Stopped

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
        stop: Stop | None = None,
    ) -> None:
        self.recipe, self.model, self.out, self.accelerator = recipe, model, out, accelerator
        self.stop, self.first = stop or Stop(), accelerator.is_main_process
        self.spread = spread or Copies(accelerator)
        ranks = accelerator.num_processes
        split = Split(recipe.batch, recipe.micro_batch, accelerator.process_index, ranks, recipe.micro_tokens)
        check_model(recipe, model)
        worlds = worlds_of(out)
        with accelerator.main_process_first():
            self.plan = plan_of(recipe.learn, recipe.seed, worlds)
            judged = [
                plan_of(source, recipe.seed, worlds, f"recipe.judge.{number}")
                for number, source in enumerate(recipe.judged)
            ]
        identity: Identity = {}
        if self.first:
            identity = identity_of_run(recipe, model, worlds)
            check_identity(out, identity)
            check_noted(out, Checkpoints(out / "checkpoints", recipe.keep).steps())
        self._make_learner()
        if self.first:
            self._note(identity)
            sets = list(zip(recipe.judge, judged, strict=True))
            for line in doubtful(
                recipe, model.checkpoint, self.grounder.contract, (recipe.learn, self.plan), sets
            ):
                log.warning("%s", line)
        self.split = dataclasses.replace(split, tokens=ImageTokens(self.plan, self.grounder.contract))
        peak = peak_of(accelerator.device)
        self.metrics = Metrics(out, self.first, peak and peak * ranks, accelerator.log)
        self.judging = Judging(recipe, judged, self.grounder, self.spread, self.metrics, out)
        self.results = Results(recipe, model, self.grounder, self.adapters, self.spread, self.metrics)
        self.checkpoints = Checkpoints(out / "checkpoints", recipe.keep)
        self.unread = UnreadCount(recipe.bad_share, recipe.batch)
        self.step = 0

    def _note(self, identity: Identity) -> None:
        """Take the folder, now that the weights are loaded, and so known also where a hub gave them."""
        commit = getattr(self.grounder.model.config, "_commit_hash", None)
        identity = {**identity, CHECKPOINT: checkpoint_identity(self.model.checkpoint, commit)}
        check_identity(self.out, identity)
        note_identity(self.out, noted(self.out, identity))

    def _make_learner(self) -> None:
        """The model with what learns of it, as the processes hold it."""
        recipe = self.recipe
        dtype = choose_dtype(self.model.dtype, self.accelerator.device)  # on the CPU it may be another
        held = dataclasses.replace(self.model, dtype=str(dtype).removeprefix("torch."))
        any_process = self._any_process if self.spread.together else None
        self.grounder, tokens = load_taught(recipe, held, self.spread.loading, any_process)
        model = self.grounder.model
        self.adapters = prepare(model, recipe.tune, recipe.seed, tokens)
        if self.adapters is not None:
            named_base(self.adapters, self.model.checkpoint)
        fuse_lora_layers(model)
        if recipe.packed:
            use_packed_attention(model)
        if recipe.fused and apply_liger(model, self.accelerator.device):
            log.info("with Liger's fused kernels")
        self.arithmetic = arithmetic_of(model, recipe.tune)
        if recipe.checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self.learner = self.spread.prepare(
            Learner(model, recipe.packed, sees(recipe.tune), self.spread.together),
            partial(
                torch.optim.AdamW,
                lr=recipe.learning_rate,
                weight_decay=recipe.weight_decay,
                fused=self.accelerator.device.type == "cuda",
            ),
        )
        self.weights = self.spread.weights

    def _any_process(self, flag: torch.Tensor) -> bool:
        """Whether a flag is set on any process."""
        return bool(self.spread.summed(flag.int()))

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run; pairs that do not fill one are left."""
        return max(1, self.recipe.pairs // self.recipe.batch)

    # ---- the run -----------------------------------------------------------------------------

    def run(self, stop: int | None = None) -> bool:
        """Train to the end, or on from where an earlier run stopped; whether the end was reached.

        `stop` ends the run after that step, its state saved, as a signal would. The caller sees to it that
        no other run trains in the folder (`data_prep.folders.alone_in`). Raises Stopped on a signal between
        steps, as while it is evaluated: everything is saved then.
        """
        if self.recipe.threads:
            torch.set_num_threads(self.recipe.threads)
        with self.stop.heeded():
            self.stop.check()
            self._resume()
            last = self.steps if stop is None else min(stop, self.steps)
            if self._due() and self.judging.judged_at != self.step:
                self._judge()
            ended = self.step == self.steps
            with self.stop.finishing():
                reached = self._train_to(last)
            if not reached:
                return False
            if self.step == self.steps and not (ended and (self.out / "final").is_dir()):
                self.results.save(self.out / "final", self.step, self.steps)
            if self.first and self.step == self.steps:
                self._tell_end(ended)
        return self.step == self.steps

    def _tell_end(self, before: bool) -> None:
        """Where the weights are, and how they are used; `before`: an earlier command had reached the end."""
        best = self.out / "best"
        kept = best if best.is_dir() else self.out / "final"
        of = f" (IoU {self.judging.best:.3f})" if kept == best else ""
        if self.unread.count:
            log.warning("%d pairs could not be read and were left out", self.unread.count)
        log.info(
            "%s after %d steps; weights%s in %s: bash infer.sh model.checkpoint=%s",
            *("was finished before," if before else "finished", self.step, of, kept, kept),
        )

    def _train_to(self, last: int) -> bool:
        """Take steps up to `last`; False where the run was told to stop before."""
        recipe, numbers, begun = self.recipe, range(self.step, last), time.monotonic()
        self.learner.train()
        device, encoder = self.accelerator.device, self.grounder.encoder
        workers, dtype = workers_of(recipe.workers, device), choose_dtype(self.model.dtype, device)
        for batches in steps_of(self.plan, encoder, self.split, numbers, workers, recipe.smoothing, dtype):
            with fitting(self.split):
                self._take_step(batches)
            if self.step % recipe.log_every == 0 or self.step == last:
                pace = (time.monotonic() - begun) / (self.step - numbers.start)
                self.metrics.tell(self.step, self.steps, pace)
            stopping = bool(self.spread.summed(int(self.stop.asked)))
            if stopping or self._due() or self.step % recipe.checkpoint_every == 0 or self.step == last:
                self._save()
            if stopping:
                log.info("stopped at step %d; run it again to go on", self.step)
                return False
            if self._due():  # behind the checkpoint, since it takes longer than a cluster waits
                with self.stop.ending_at_once():
                    self._judge()
        return True

    def _take_step(self, batches: Sequence[MicroBatch]) -> None:
        """One optimizer step: the loss is the mean over the answer tokens of all processes."""
        recipe, begun = self.recipe, time.monotonic()
        warm = max(1, round(recipe.warmup * self.steps))
        floor = 1.0 if recipe.schedule == "constant" else 0.0
        rate = recipe.learning_rate * warmed_cosine(self.step, self.steps, warm, floor)
        self.spread.set_rate(rate)
        torch.manual_seed((recipe.seed * SEED_STRIDE + self.step) * SEED_STRIDE + self.split.rank)
        counts = torch.tensor([self._counted(batch) for batch in batches]).sum(0)
        tokens, pairs, unread, read, operations = self.spread.summed(counts).tolist()
        self.unread.tell(batches, self.step, pairs, unread)
        total = torch.zeros((), device=self.accelerator.device)
        for number, batch in enumerate(batches):
            with self.spread.micro_batch(number == len(batches) - 1):
                loss = self.learner(batch.to(self.accelerator.device)) / max(tokens, 1)
                self.spread.backward(loss * self.spread.scale)
            total += loss.detach()
        mean = float(self.spread.summed(total))
        self._check_finite("loss", mean)
        norm = self.spread.update(recipe.clip)
        self._check_finite("norm of the gradient", norm)  # before weights that it spoilt are saved
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

    def _check_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise UserError(
                f"recipe.learning_rate={self.recipe.learning_rate:g}: {what} is {value} at step {self.step}; "
                "lower it, or raise recipe.warmup, and take another out="
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

    # ---- judging, stopping and going on ------------------------------------------------------

    def _due(self) -> bool:
        return self.judging.due(self.step, self.steps)

    def _judge(self) -> None:
        """An evaluation; the best weights are kept, and its figures with the checkpoint."""
        if self.judging.judge(self.step):
            self.results.save(self.out / "best", self.step, self.steps)
        if self.first:
            self.checkpoints.note(self._standing())

    def _standing(self) -> Standing:
        figures = self.judging.best, self.judging.judged_at
        return Standing(self.step, self.unread.count, *figures, self.spread.strategy, self.split.ranks)

    def _save(self) -> None:
        self.checkpoints.save(self._standing(), self.spread, self.accelerator)

    def _resume(self) -> None:
        if self.first:
            for folder in (self.out, self.checkpoints.folder):
                tidy(folder)
        self.accelerator.wait_for_everyone()
        standing = self.checkpoints.newest(self.spread, self.split.ranks)
        if standing is not None:
            path = self.checkpoints.path(standing.step)
            self.checkpoints.load(standing, self.spread)
            self.step, self.unread.count = standing.step, standing.unread
            self.judging.best, self.judging.judged_at = self._best_of(standing), standing.judged
            log.info("going on from step %d in %s", self.step, path)
        self.metrics.go_on_from(self.step, self.judging.judged_at == self.step)

    def _best_of(self, standing: Standing) -> float:
        """The IoU of the best weights so far; -1 where they are gone, so that the next best are kept."""
        if standing.best < 0 or (self.out / "best").is_dir():
            return standing.best
        if self.first:
            log.warning("%s: is gone; from now on the best are kept there again", self.out / "best")
        return -1.0


def train_sft(
    recipe: SftRecipe,
    model: GrounderConfig,
    out: Path,
    device: torch.device,
    strategy: str = "ddp",
    deepspeed: Path | None = None,
) -> None:
    """Fine-tune to the end, or go on where an earlier run of the same settings stopped.

    `strategy` says what each process holds (train/launch/config.py). Raises Stopped where a signal ended it.
    """
    stop = Stop()
    with stop.heeded():
        dtype = choose_dtype(model.dtype, device)
        spread = join(recipe, strategy, deepspeed, device, dtype, tracked(recipe.report_to, out))
        training = SftTraining(recipe, model, out, spread.accelerator, spread, stop)
        begin(spread.accelerator, recipe.name, out, dataclasses.asdict(recipe))
        reached = training.run()
        spread.accelerator.end_training()
        leave()
    if not reached:
        raise Stopped(stop.status, is_told=True)
