"""Supervised fine-tuning, from settings to weights, on one process or many.

The data of step n follow from the seed and n alone. So a run that was stopped and resumed ends with the same
weights as an uninterrupted one, bit for bit on a CPU.
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
from configs.launch.signals import Stopped, StopSignal
from data_prep.folders import tidy
from models.checkpoint import choose_dtype
from models.config import GrounderConfig
from models.grounder.adapters import named_base
from models.identity import checkpoint_identity
from models.kernels.attention import use_packed_attention
from models.kernels.fused import apply_liger, fuse_lora_layers
from train.loop.checkpoints import Checkpoints, RunState
from train.loop.identity import CHECKPOINT, Identity, check_identity, check_noted, note_identity, noted
from train.loop.metrics import Metrics, init_trackers, tracker_options
from train.loop.process_group import create_strategy, destroy_process_group
from train.loop.schedule import warmed_cosine
from train.loop.strategies import DDPStrategy, Strategy
from train.sft.batch_sampler import ImageTokens, MicroBatchSampler
from train.sft.batches import MicroBatch, load_steps, num_workers
from train.sft.config import SftRecipe
from train.sft.evaluator import Evaluator
from train.sft.flops import flops_formula, peak_flops
from train.sft.model import (
    GrounderForTraining,
    check_model,
    load_for_training,
    set_trainable,
    trains_vision,
)
from train.sft.saving import WeightsWriter
from train.sft.sources import identity_of_run, pair_plan, worlds_folder
from train.sft.validation import UnreadablePairs, out_of_memory_explained, validate

SEED_STRIDE = 1_000_003  # between the seeds of steps and ranks
log = logging.getLogger(__name__)


class SftTraining:
    """A fine-tuning run: the model, its data, and the position of the run (`step`)."""

    def __init__(
        self,
        recipe: SftRecipe,
        model: GrounderConfig,
        out: Path,
        accelerator: Accelerator,
        strategy: Strategy | None = None,
        stop: StopSignal | None = None,
    ) -> None:
        self.recipe, self.model_config, self.out, self.accelerator = recipe, model, out, accelerator
        self.stop, self.is_first_process = stop or StopSignal(), accelerator.is_main_process
        self.strategy = strategy or DDPStrategy(accelerator)
        # 1. Check the settings, and find the data: all of this takes seconds, and loading takes minutes.
        ranks = accelerator.num_processes
        sampler = MicroBatchSampler(
            recipe.batch, recipe.micro_batch, accelerator.process_index, ranks, recipe.micro_tokens
        )
        check_model(recipe, model)
        worlds = worlds_folder(out)
        with accelerator.main_process_first():  # which renders videos that do not exist yet
            self.plan = pair_plan(recipe.train_data, recipe.seed, worlds)
            evaluation_plans = [
                pair_plan(source, recipe.seed, worlds, f"recipe.evaluate.{number}")
                for number, source in enumerate(recipe.evaluation_sources)
            ]
        identity: Identity = {}
        if self.is_first_process:
            identity = identity_of_run(recipe, model, worlds)
            check_identity(out, identity)
            check_noted(out, Checkpoints(out / "checkpoints", recipe.keep_checkpoints).steps())
        # 2. Load the model.
        self._make_model()
        if self.is_first_process:
            self._write_identity(identity)
            evaluation_sets = list(zip(recipe.evaluate, evaluation_plans, strict=True))
            training_set = (recipe.train_data, self.plan)
            for line in validate(
                recipe, model.checkpoint, self.grounder.contract, training_set, evaluation_sets
            ):
                log.warning("%s", line)
        # 3. The parts of the loop.
        self.sampler = dataclasses.replace(sampler, tokens=ImageTokens(self.plan, self.grounder.contract))
        peak = peak_flops(accelerator.device)
        self.metrics = Metrics(out, self.is_first_process, peak and peak * ranks, accelerator.log)
        self.evaluator = Evaluator(recipe, evaluation_plans, self.grounder, self.strategy, self.metrics, out)
        self.weights_writer = WeightsWriter(
            recipe, model, self.grounder, self.adapters, self.strategy, self.metrics
        )
        self.checkpoints = Checkpoints(out / "checkpoints", recipe.keep_checkpoints)
        self.unreadable = UnreadablePairs(recipe.max_unreadable_share, recipe.batch)
        self.step = 0

    def _write_identity(self, identity: Identity) -> None:
        """Write `settings.json`. The commit of weights from the hub is known now that they are loaded."""
        commit = getattr(self.grounder.model.config, "_commit_hash", None)
        identity = {**identity, CHECKPOINT: checkpoint_identity(self.model_config.checkpoint, commit)}
        check_identity(self.out, identity)
        note_identity(self.out, noted(self.out, identity))

    def _make_model(self) -> None:
        """Load the grounder, choose its trainable parameters, and distribute it over the processes."""
        recipe = self.recipe
        # 1. The grounder. The strategy decides where its weights are read to, so the dtype is chosen here.
        dtype = choose_dtype(self.model_config.dtype, self.accelerator.device)
        config = dataclasses.replace(self.model_config, dtype=str(dtype).removeprefix("torch."))
        # Where parameters are sharded, all processes generate together: a process that stopped earlier than
        # the others would let them wait, so they agree after each token.
        any_process = self._any_process if self.strategy.is_sharded else None
        self.grounder, tokens = load_for_training(recipe, config, self.strategy.load_device, any_process)
        model = self.grounder.model
        # 2. Trainable parameters, and faster kernels.
        self.adapters = set_trainable(model, recipe.tune, recipe.seed, tokens)
        if self.adapters is not None:
            named_base(self.adapters, self.model_config.checkpoint)
        fuse_lora_layers(model)
        if recipe.packing:
            use_packed_attention(model)
        if recipe.use_liger_kernel and apply_liger(model, self.accelerator.device):
            log.info("with Liger's fused kernels")
        self.flops = flops_formula(model, recipe.tune)
        if recipe.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        # 3. The loss module, distributed.
        module = GrounderForTraining(
            model, recipe.packing, trains_vision(recipe.tune), self.strategy.is_sharded
        )
        make_optimizer = partial(
            torch.optim.AdamW,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=self.accelerator.device.type == "cuda",
        )
        self.model = self.strategy.prepare(module, make_optimizer, module.layers())
        self.parameters = self.strategy.parameters

    def _any_process(self, flag: torch.Tensor) -> bool:
        """Whether a flag is set on any process."""
        return bool(self.strategy.all_reduce_sum(flag.int()))

    @property
    def steps(self) -> int:
        """Optimizer steps of the run. Pairs that do not fill a step are not used."""
        return max(1, self.recipe.pairs // self.recipe.batch)

    # ---- the loop ----------------------------------------------------------------------------

    def run(self, stop: int | None = None) -> bool:
        """Train to the end, or resume where an earlier run stopped; whether the end was reached.

        `stop` ends the run after that step, its state saved, as a signal would. The caller makes sure that no
        other run trains in the folder (`data_prep.folders.alone_in`). Raises Stopped where a signal comes
        while nothing needs to be saved: before the first step, and in an evaluation.
        """
        if self.recipe.threads:
            torch.set_num_threads(self.recipe.threads)
        with self.stop.handled():
            self.stop.check()
            self._resume()
            last = self.steps if stop is None else min(stop, self.steps)
            # A run that was stopped in an evaluation repeats it; a new run evaluates the initial weights.
            if self._evaluation_is_due() and self.evaluator.evaluated_at != self.step:
                self._evaluate()
            was_finished = self.step == self.steps
            with self.stop.deferred():
                reached = self._train_to(last)
            if not reached:
                return False
            if self.step == self.steps and not (was_finished and (self.out / "final").is_dir()):
                self.weights_writer.save(self.out / "final", self.step, self.steps)
            if self.is_first_process and self.step == self.steps:
                self._log_end(was_finished)
        return self.step == self.steps

    def _log_end(self, was_finished: bool) -> None:
        """Log where the weights are and how to use them; `was_finished`: before this command."""
        best = self.out / "best"
        folder = best if best.is_dir() else self.out / "final"
        quality = f" (IoU {self.evaluator.best_iou:.3f})" if folder == best else ""
        if self.unreadable.count:
            log.warning("%d pairs could not be read and were left out", self.unreadable.count)
        log.info(
            "%s after %d steps; weights%s in %s: bash infer.sh model.checkpoint=%s",
            *("was already finished" if was_finished else "finished", self.step, quality, folder, folder),
        )

    def _train_to(self, last: int) -> bool:
        """Take optimizer steps up to `last`; False where a signal ended them before."""
        recipe, steps, started = self.recipe, range(self.step, last), time.monotonic()
        self.model.train()
        device, encoder = self.accelerator.device, self.grounder.encoder
        workers, dtype = num_workers(recipe.workers, device), choose_dtype(self.model_config.dtype, device)
        for batches in load_steps(
            self.plan, encoder, self.sampler, steps, workers, recipe.soft_label_std, dtype
        ):
            with out_of_memory_explained(self.sampler):
                self._take_step(batches)
            if self.step % recipe.log_every == 0 or self.step == last:
                seconds_per_step = (time.monotonic() - started) / (self.step - steps.start)
                self.metrics.log(self.step, self.steps, seconds_per_step)
            # A signal may reach some processes only, or in different steps; all of them must stop together.
            stopping = bool(self.strategy.all_reduce_sum(int(self.stop.is_set)))
            evaluates = self._evaluation_is_due()
            if stopping or evaluates or self.step % recipe.checkpoint_every == 0 or self.step == last:
                self._save_checkpoint()
            if stopping:
                log.info("stopped at step %d; run the same command again to resume", self.step)
                return False
            if evaluates:
                # After the checkpoint: an evaluation takes longer than a cluster waits after a SIGTERM.
                with self.stop.immediate():
                    self._evaluate()
        return True

    def _take_step(self, batches: Sequence[MicroBatch]) -> None:
        """One optimizer step. The loss is the mean over the answer tokens of all processes."""
        recipe, started = self.recipe, time.monotonic()
        learning_rate = self._learning_rate()
        self.strategy.set_learning_rate(learning_rate)
        # Dropout follows from the seed, the step and the rank, so that it is the same in a resumed run.
        torch.manual_seed((recipe.seed * SEED_STRIDE + self.step) * SEED_STRIDE + self.sampler.rank)

        # 1. All-reduce the counts. The loss is divided by the answer tokens of all micro-batches and
        #    processes, which must be known before the first backward pass.
        local_counts = torch.tensor([self._counts(batch) for batch in batches]).sum(0)
        counts = self.strategy.all_reduce_sum(local_counts).tolist()
        answer_tokens, pairs, unreadable, tokens, flops = counts
        self.unreadable.add(batches, self.step, pairs, unreadable)

        # 2. Forward and backward, one micro-batch after the other. Gradients accumulate; they are
        #    all-reduced with the last micro-batch (with every one where gradients are sharded).
        local_loss = torch.zeros((), device=self.accelerator.device)
        for number, batch in enumerate(batches):
            with self.strategy.accumulate(is_last=number == len(batches) - 1):
                loss = self.model(batch.to(self.accelerator.device)) / max(answer_tokens, 1)
                self.strategy.backward(loss * self.strategy.loss_scale)
            local_loss += loss.detach()
        mean_loss = float(self.strategy.all_reduce_sum(local_loss))
        self._check_finite("loss", mean_loss)

        # 3. Clip and update. A gradient that is not finite has spoilt the parameters by now, and the run ends
        #    before they are saved.
        norm = self.strategy.optimizer_step(recipe.max_grad_norm)
        self._check_finite("norm of the gradient", norm)
        self.step += 1

        # 4. Log.
        self.metrics.add(
            loss=mean_loss,
            norm=norm,
            learning_rate=learning_rate,
            pairs=pairs,
            answer_tokens=answer_tokens,
            tokens=tokens,
            flops=flops,
            seconds=time.monotonic() - started,
        )

    def _learning_rate(self) -> float:
        """The learning rate of the next step."""
        warmup_steps = max(1, round(self.recipe.warmup_ratio * self.steps))
        floor = 1.0 if self.recipe.schedule == "constant" else 0.0
        return self.recipe.learning_rate * warmed_cosine(self.step, self.steps, warmup_steps, floor)

    def _check_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise UserError(
                f"recipe.learning_rate={self.recipe.learning_rate:g}: {what} is {value} at step {self.step}; "
                "lower it, or raise recipe.warmup_ratio, and take another out="
            )

    def _counts(self, batch: MicroBatch) -> list[int]:
        """Answer tokens, pairs, unreadable pairs, all tokens, and FLOPs of a micro-batch."""
        counts = [batch.answer_tokens, batch.pairs, len(batch.unread)]
        if not batch.pairs:
            return [*counts, 0, 0]
        inputs = batch.encoded.inputs
        lengths = inputs["attention_mask"].sum(1)
        flops = self.flops.count(lengths, inputs["image_grid_thw"], batch.answer_tokens)
        return [*counts, int(lengths.sum()), flops]

    # ---- evaluation, checkpoints, resuming -----------------------------------------------------

    def _evaluation_is_due(self) -> bool:
        return self.evaluator.is_due(self.step, self.steps)

    def _evaluate(self) -> None:
        """Evaluate; write best/ where the result is the best so far, and note it in the checkpoint."""
        if self.evaluator.evaluate(self.step):
            self.weights_writer.save(self.out / "best", self.step, self.steps)
        if self.is_first_process:
            self.checkpoints.update_run_state(self._run_state())

    def _run_state(self) -> RunState:
        return RunState(
            step=self.step,
            unreadable=self.unreadable.count,
            best_iou=self.evaluator.best_iou,
            evaluated=self.evaluator.evaluated_at,
            strategy=self.strategy.name,
            num_processes=self.sampler.ranks,
        )

    def _save_checkpoint(self) -> None:
        self.checkpoints.save(self._run_state(), self.strategy, self.accelerator)

    def _resume(self) -> None:
        """Load the newest checkpoint, if there is one, and remove the metrics of steps after it."""
        if self.is_first_process:
            for folder in (self.out, self.checkpoints.folder):
                tidy(folder)
        self.accelerator.wait_for_everyone()
        run_state = self.checkpoints.newest(self.strategy, self.sampler.ranks)
        if run_state is not None:
            path = self.checkpoints.path(run_state.step)
            self.checkpoints.load(run_state, self.strategy)
            self.step, self.unreadable.count = run_state.step, run_state.unreadable
            self.evaluator.best_iou = self._best_iou(run_state)
            self.evaluator.evaluated_at = run_state.evaluated
            log.info("resuming at step %d from %s", self.step, path)
        self.metrics.resume(self.step, self.evaluator.evaluated_at == self.step)

    def _best_iou(self, run_state: RunState) -> float:
        """The IoU of best/; -1 where that folder is gone, so that the next evaluation writes it again."""
        if run_state.best_iou < 0 or (self.out / "best").is_dir():
            return run_state.best_iou
        if self.is_first_process:
            log.warning("%s: is missing; the next evaluation writes it again", self.out / "best")
        return -1.0


def train_sft(
    recipe: SftRecipe,
    model: GrounderConfig,
    out: Path,
    device: torch.device,
    strategy_name: str = "ddp",
    deepspeed: Path | None = None,
) -> None:
    """Fine-tune to the end, or resume an earlier run of the same settings.

    `strategy_name` is one of train/config.py. Raises Stopped where a signal ended the run.
    """
    stop = StopSignal()
    with stop.handled():
        dtype = choose_dtype(model.dtype, device)
        options = tracker_options(recipe.report_to, out)
        strategy = create_strategy(recipe, strategy_name, deepspeed, device, dtype, options)
        training = SftTraining(recipe, model, out, strategy.accelerator, strategy, stop)
        init_trackers(strategy.accelerator, recipe.name, out, dataclasses.asdict(recipe))
        reached = training.run()
        strategy.accelerator.end_training()
        destroy_process_group()
    if not reached:
        raise Stopped(stop.status, is_reported=True)
