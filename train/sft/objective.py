"""Supervised fine-tuning of a grounder as an objective of the training loop, on one process or many."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from configs.launch.signals import StopSignal
from models.config import GrounderConfig
from models.devices import choose_training_dtype
from models.families import family_of
from models.grounder.adapters import named_base
from models.identity import checkpoint_identity
from models.kernels.attention import use_packed_attention
from models.kernels.fused import apply_fused_lora, apply_liger
from train.loop.identity import CHECKPOINT, Identity
from train.loop.metrics import init_trackers, tracker_options
from train.loop.objective import Evaluation, Objective, StepMetrics
from train.loop.process_group import create_strategy
from train.loop.strategies import Strategy
from train.loop.trainer import Trainer
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
from train.sft.saving import save_weights, training_record
from train.sft.sources import identity_of_run, pair_plan, worlds_folder
from train.sft.validation import UnreadablePairs, out_of_memory_explained, validate

SEED_STRIDE = 1_000_003  # between the seeds of steps and ranks
log = logging.getLogger(__name__)


class SftObjective(Objective[list[MicroBatch]]):
    """Fine-tuning on pairs: the cross-entropy of the answer, averaged over the answer tokens of a step."""

    score_name = "IoU"

    def __init__(
        self,
        recipe: SftRecipe,
        model: GrounderConfig,
        out: Path,
        strategy: Strategy,
        stop: StopSignal | None = None,
    ) -> None:
        """Check the settings and find the pairs; rendered videos that do not exist yet are rendered."""
        super().__init__(strategy, stop or StopSignal())
        self.recipe, self.model_config, self.out = recipe, model, out
        accelerator = self.accelerator = strategy.accelerator
        self.learning_rate_remedy = (
            f"lower recipe.learning_rate={recipe.learning_rate:g}, or raise recipe.warmup_ratio"
        )
        self.sampler = MicroBatchSampler(
            recipe.batch,
            recipe.micro_batch,
            accelerator.process_index,
            accelerator.num_processes,
            recipe.micro_tokens,
        )
        check_model(recipe, model)
        worlds = worlds_folder(out)
        with accelerator.main_process_first():  # which renders the videos
            self.plan = pair_plan(recipe.train_data, recipe.seed, worlds)
            self.evaluation_plans = [
                pair_plan(source, recipe.seed, worlds, f"recipe.evaluate.{number}")
                for number, source in enumerate(recipe.evaluation_sources)
            ]
        self.unreadable = UnreadablePairs(recipe.max_unreadable_share, recipe.batch)
        self.peak_flops = peak_flops(accelerator.device)
        self._identity: Identity = {}
        self._is_built = False

    @property
    def steps(self) -> int:
        """Optimizer steps of the run. Pairs that do not fill a step are not used."""
        return self.recipe.steps

    def identity(self) -> Identity:
        """The settings, the data, the initial weights and the code."""
        if not self._identity:
            self._identity = identity_of_run(self.recipe, self.model_config, worlds_folder(self.out))
        if not self._is_built:
            return self._identity
        # The commit of weights from the hub is known now.
        checkpoint = checkpoint_identity(self.model_config.checkpoint, self._commit)
        return {**self._identity, CHECKPOINT: checkpoint}

    # ---- model -------------------------------------------------------------------------------------

    def build(self) -> None:
        """Load the grounder, choose its trainable parameters, and distribute it over the processes."""
        recipe = self.recipe
        # 1. The grounder. The strategy decides where its weights are read to, so the dtype is chosen here.
        dtype = choose_training_dtype(self.model_config.dtype, self.accelerator.device)
        config = dataclasses.replace(
            self.model_config,
            dtype=str(dtype).removeprefix("torch."),
            # Weights that are sharded over GPUs are read to the CPU first.
            allow_cpu=self.model_config.allow_cpu or self.accelerator.device.type != "cpu",
        )
        # With sharded parameters all processes generate together: a process that stopped earlier than the
        # others would let them wait, so they agree after each token.
        any_process = self._any_process if self.strategy.is_sharded else None
        self.grounder, tokens = load_for_training(recipe, config, self.strategy.load_device, any_process)
        model = self.grounder.model
        self._commit: str | None = getattr(model.config, "_commit_hash", None)
        # 2. Trainable parameters, and faster kernels. Kernels come after the adapters, since they replace
        #    modules that peft has wrapped.
        self.adapters = set_trainable(model, recipe.tune, recipe.seed, tokens)
        if self.adapters is not None:
            named_base(self.adapters, self.model_config.checkpoint)
        apply_fused_lora(model)
        packing = recipe.packing and family_of(model).supports_packing
        if packing:
            use_packed_attention(model)
        elif recipe.packing and self.accelerator.is_main_process:
            log.info("samples are padded: a row of %s holds one sample", model.config.model_type)
        if recipe.use_liger_kernel and apply_liger(model, self.accelerator.device):
            log.info("with Liger's fused kernels")
        self.flops = flops_formula(model, recipe.tune)
        if recipe.gradient_checkpointing:
            # The reentrant variant needs inputs with gradients, which a frozen embedding does not give.
            model.gradient_checkpointing_enable({"use_reentrant": False})
        # 3. The loss module, distributed.
        module = GrounderForTraining(model, packing, trains_vision(recipe.tune), self.strategy.is_sharded)
        make_optimizer = partial(
            torch.optim.AdamW,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=self.accelerator.device.type == "cuda",  # one kernel for all parameters
        )
        self.model = self.strategy.prepare(module, make_optimizer, module.layers())
        self.model.train()
        # 4. What needs the contract of the model.
        self.sampler = dataclasses.replace(
            self.sampler, tokens=ImageTokens(self.plan, self.grounder.contract)
        )
        self.evaluator = Evaluator(recipe, self.evaluation_plans, self.grounder, self.strategy, self.out)
        self._is_built = True
        self._log_warnings()

    def _log_warnings(self) -> None:
        """Log settings that are probably a mistake, on the first process."""
        if not self.accelerator.is_main_process:
            return
        training_set = (self.recipe.train_data, self.plan)
        evaluation_sets = list(zip(self.recipe.evaluate, self.evaluation_plans, strict=True))
        checkpoint, contract = self.model_config.checkpoint, self.grounder.contract
        for line in validate(self.recipe, checkpoint, contract, training_set, evaluation_sets):
            log.warning("%s", line)

    def _any_process(self, flag: torch.Tensor) -> bool:
        """Whether a flag is set on any process."""
        return bool(self.strategy.all_reduce_sum(flag.int()))

    def save_weights(self, folder: Path, step: int, evaluations: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the adapters or the complete model, completely or not at all. All processes call it."""
        # 1. The parameters to be written. Gathering them is a collective operation.
        parameters = dict(self.grounder.model.named_parameters())
        if self.adapters is not None:
            parameters = {name: each for name, each in parameters.items() if each.requires_grad}
        weights = self.strategy.gather_full_params(parameters)
        # 2. Adapters stay in float32, which is small.
        if self.adapters is None:
            # Trainable parameters are in float32; the checkpoint has the dtype of the model.
            dtype = choose_training_dtype(self.model_config.dtype, self.accelerator.device)
            weights = {name: weight.to(dtype) for name, weight in weights.items()}
        if self.accelerator.is_main_process:
            record = training_record(self.recipe, self.model_config, step, self.steps, evaluations)
            save_weights(folder, self.adapters or self.grounder.model, self.grounder, record, weights)

    # ---- training step -----------------------------------------------------------------------------

    def batches(self, steps: range) -> Iterator[list[MicroBatch]]:
        """The micro-batches of each step that this process takes."""
        recipe, device = self.recipe, self.accelerator.device
        return load_steps(
            self.plan,
            self.grounder.encoder,
            self.sampler,
            steps,
            num_workers(recipe.workers, device),
            recipe.soft_label_std,
            choose_training_dtype(self.model_config.dtype, device),
        )

    def take_step(self, batch: list[MicroBatch], step: int) -> StepMetrics:
        """One optimizer step. The loss is the mean over the answer tokens of all processes."""
        with out_of_memory_explained(self.sampler):
            return self._take_step(batch, step)

    def _take_step(self, batches: Sequence[MicroBatch], step: int) -> StepMetrics:
        learning_rate = self.recipe.learning_rate_at(step)
        self.strategy.set_learning_rate(learning_rate)
        # Dropout follows from the seed, the step and the rank, so that it is the same in a resumed run.
        torch.manual_seed((self.recipe.seed * SEED_STRIDE + step) * SEED_STRIDE + self.sampler.rank)

        # 1. All-reduce the counts. The loss is divided by the answer tokens of all micro-batches and
        #    processes, which must be known before the first backward pass.
        local_counts = torch.tensor([self._counts(batch) for batch in batches]).sum(0)
        counts = self.strategy.all_reduce_sum(local_counts).tolist()
        answer_tokens, pairs, unreadable, tokens, flops = counts
        self.unreadable.add(batches, step, pairs, unreadable)

        # 2. Forward and backward, one micro-batch after the other. Gradients accumulate; they are
        #    all-reduced with the last micro-batch (with every one if gradients are sharded).
        local_loss = torch.zeros((), device=self.accelerator.device)
        for number, batch in enumerate(batches):
            with self.strategy.accumulate(is_last=number == len(batches) - 1):
                loss = self.model(batch.to(self.accelerator.device)) / max(answer_tokens, 1)
                self.strategy.backward(loss * self.strategy.loss_scale)
            local_loss += loss.detach()
        mean_loss = float(self.strategy.all_reduce_sum(local_loss))

        # 3. Clip and update.
        norm = self.strategy.optimizer_step(self.recipe.max_grad_norm)
        return StepMetrics(
            {"loss": mean_loss},
            learning_rate,
            norm,
            counts={"pairs": pairs, "answer_tokens": answer_tokens, "tokens": tokens},
            flops=flops,
        )

    def _counts(self, batch: MicroBatch) -> list[int]:
        """Answer tokens, pairs, unreadable pairs, all tokens, and FLOPs of a micro-batch."""
        counts = [batch.answer_tokens, batch.pairs, len(batch.unreadable)]
        # A blank micro-batch is computed, but is not part of the work of the step.
        if not batch.pairs:
            return [*counts, 0, 0]
        inputs = batch.encoded.inputs
        lengths = inputs["attention_mask"].sum(1)
        flops = self.flops.count(lengths, inputs["image_grid_thw"], batch.answer_tokens)
        return [*counts, int(lengths.sum()), flops]

    # ---- evaluation, state -------------------------------------------------------------------------

    def evaluate(self, step: int) -> Evaluation:
        """Metrics of every evaluation set; the score is the mean IoU on the first one."""
        return self.evaluator.evaluate(step)

    def draw_plots(self, step: int, metrics_file: Path) -> None:
        """Draw plot.png and worst-<step>.png."""
        self.evaluator.draw(step, metrics_file)

    def state(self) -> dict[str, Any]:
        """The number of pairs that could not be read."""
        return {"unreadable": self.unreadable.count}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        self.unreadable.count = state["unreadable"]

    def warnings(self) -> Iterator[str]:
        """Whether pairs were left out."""
        if self.unreadable.count:
            yield f"{self.unreadable.count} pairs could not be read and were left out"


def sft_trainer(
    recipe: SftRecipe, model: GrounderConfig, out: Path, strategy: Strategy, stop: StopSignal | None = None
) -> Trainer[SftObjective]:
    """The trainer of a fine-tuning run."""
    return Trainer(SftObjective(recipe, model, out, strategy, stop), recipe, out)


def train_sft(
    recipe: SftRecipe,
    model: GrounderConfig,
    out: Path,
    device: torch.device,
    strategy_name: str = "ddp",
    deepspeed: Path | None = None,
) -> None:
    """Fine-tune to the end, or resume an earlier run of the same settings.

    `strategy_name` is one of `train.config.STRATEGIES`. Raises Stopped if a signal ended the run.
    """
    stop = StopSignal()
    with stop.handled():
        dtype = choose_training_dtype(model.dtype, device)
        options = tracker_options(recipe.report_to, out)
        strategy = create_strategy(recipe, strategy_name, deepspeed, device, dtype, options)
        trainer = sft_trainer(recipe, model, out, strategy, stop)
        init_trackers(strategy.accelerator, recipe.name, out, dataclasses.asdict(recipe))
        trainer.run_to_end()
