"""One run of each side of `python -m benchmarks training`: ours (`train/sft`) and TRL's SFTTrainer."""

import gc
import shutil
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from datasets import Dataset
from peft import LoraConfig
from PIL import Image
from transformers import AutoConfig, AutoProcessor, TrainerCallback
from trl import SFTConfig, SFTTrainer

from benchmarks.training_work import Run, Work
from data_prep.contract.chat import answer_text, messages
from data_prep.sampling.images import size_of
from models.config import GrounderConfig
from models.families import FAMILIES, lora_targets
from models.grounder.chat_template import end_of_turn
from train.loop.metrics import Metrics
from train.loop.objective import StepMetrics
from train.loop.strategies import DDPStrategy
from train.pairs import PairQuestions, PairSample
from train.sft.batches import PREFETCH
from train.sft.objective import sft_trainer


class Stamps(Metrics):
    """The metrics of a run, and the time at which each step ended."""

    def __init__(self, out: Path) -> None:
        super().__init__(out, writes=False)
        self.walls, self.processor = [time.perf_counter()], [time.process_time()]
        self.losses: list[float] = []
        self.flops: list[float] = []
        self.pending = 0.0

    def add(self, metrics: StepMetrics, seconds: float) -> None:
        """Called at the end of a step."""
        super().add(metrics, seconds)
        self.flops.append(metrics.flops or 0.0)
        self.stamp(metrics.losses["loss"])

    def stamp(self, loss: float) -> None:
        """Record the times and the loss at the end of a step."""
        self.walls.append(time.perf_counter())
        self.processor.append(time.process_time())
        self.losses.append(loss)

    def run(self) -> Run:
        """The measurements of the run."""
        peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
        times = _between(self.walls), _between(self.processor)
        return Run(*times, tuple(self.losses), peak, tuple(self.flops))


def _between(stamps: list[float]) -> tuple[float, ...]:
    return tuple(after - before for before, after in pairwise(stamps))


def ours(work: Work) -> Run:
    """Fine-tune as `python -m train recipe=sft` does."""
    _fresh(work)
    model = GrounderConfig(str(work.checkpoint), dtype=work.dtype)
    accelerator = Accelerator(cpu=work.device.type == "cpu", mixed_precision=work.mixed)
    training = sft_trainer(work.recipe, model, work.root / "ours", DDPStrategy(accelerator))
    stamps = Stamps(work.root / "ours")
    training.metrics = stamps
    training.run()
    return stamps.run()


def theirs(work: Work) -> Run:
    """Fine-tune with TRL's SFTTrainer, on the same pairs in the same order."""
    # A data set of numbers: the pair of a number is read when a worker asks for the row.
    _fresh(work)
    recipe, processor = work.recipe, AutoProcessor.from_pretrained(work.checkpoint, trust_remote_code=False)
    rows = Dataset.from_dict({"number": list(range(recipe.pairs))})
    rows.set_transform(Rows(work, processor))
    dtype = getattr(torch, work.dtype)
    model_class: Any = FAMILIES[_family(work)].model_class()
    model = model_class.from_pretrained(work.checkpoint, dtype=dtype, trust_remote_code=False).to(work.device)
    stamps = Stamps(work.root / "theirs")
    trainer = Stamped(
        stamps,
        model=model,
        args=trl_settings(work),
        train_dataset=rows,
        processing_class=processor,
        peft_config=LoraConfig(
            r=recipe.tune.rank,
            lora_alpha=recipe.tune.alpha,
            lora_dropout=recipe.tune.dropout,
            target_modules=lora_targets(FAMILIES[_family(work)], recipe.tune.parts),
        ),
    )
    trainer.train()
    return stamps.run()


def trl_settings(work: Work) -> SFTConfig:
    """The settings of `work` for TRL, which refuses packing and padding-free rows for data with images."""
    recipe = work.recipe
    return SFTConfig(
        output_dir=str(work.root / "theirs"),
        per_device_train_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=recipe.batch // recipe.micro_batch,
        max_steps=work.steps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        # transformers takes a number below 1 as a share of all steps.
        warmup_steps=recipe.warmup_ratio,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch",
        bf16=work.dtype == "bfloat16",
        gradient_checkpointing=recipe.gradient_checkpointing,
        dataloader_num_workers=recipe.workers or 0,
        dataloader_prefetch_factor=PREFETCH if recipe.workers else None,
        dataloader_pin_memory=work.device.type == "cuda",
        # Not shuffled: both sides take the same pairs in the same order.
        train_sampling_strategy="sequential",
        completion_only_loss=True,
        # No limit: a row that is cut may lose some of its image tokens.
        max_length=None,
        remove_unused_columns=False,  # the columns come from the transform
        use_cpu=work.device.type == "cpu",
        save_strategy="no",
        report_to="none",
        logging_steps=work.steps,
        disable_tqdm=True,
        seed=recipe.seed,
    )


class Rows:
    """Pairs as SFTTrainer reads them: prompt, completion and images. A pair is read when it is needed."""

    def __init__(self, work: Work, processor: Any) -> None:
        self.pairs, self.contract = PairQuestions(work.plan(), work.contract), work.contract
        self.processor, self.end = processor, end_of_turn(processor)

    def __call__(self, columns: dict[str, list[int]]) -> dict[str, list[Any]]:
        """The rows of these numbers, as columns."""
        asked = [self.pairs[number] for number in columns["number"]]
        rows = [self._row(each) for each in asked if isinstance(each, PairSample)]
        return {name: [row[name] for row in rows] for name in ("prompt", "completion", "images")}

    def _row(self, asked: PairSample) -> dict[str, Any]:
        question = asked.question
        chat = messages(self.contract, question.expression, question.template is not None, question.marked)
        text = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        pictures = [each for each in (question.template, question.image) if each is not None]
        return {
            "prompt": text,
            # All of it is labelled, from the first token through the one that ends the turn.
            "completion": self.contract.format.start
            + answer_text(self.contract, asked.box_resized, size_of(question.image))
            + self.end,
            "images": [Image.fromarray(each) for each in pictures],
        }


class Stamped(SFTTrainer):
    """An SFTTrainer that records the losses of micro-batches, which it divides by the tokens of the step."""

    def __init__(self, stamps: Stamps, **named: Any) -> None:
        super().__init__(callbacks=[StepEnds(stamps)], **named)
        self.stamps = stamps

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        """Forward and backward pass of one micro-batch."""
        loss: torch.Tensor = super().training_step(*arguments, **named)
        # With gradient accumulation a step has several micro-batches, whose losses add up.
        self.stamps.pending += float(loss)
        return loss


class StepEnds(TrainerCallback):
    """Records the end of every optimizer step."""

    def __init__(self, stamps: Stamps) -> None:
        self.stamps = stamps

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """After the optimizer's step."""
        self.stamps.stamp(self.stamps.pending)
        self.stamps.pending = 0.0


def _family(work: Work) -> str:
    family: str = AutoConfig.from_pretrained(work.checkpoint, trust_remote_code=False).model_type
    return family


def _fresh(work: Work) -> None:
    """Remove the traces of an earlier run from the disk and from the statistics of memory."""
    for side in ("ours", "theirs"):
        shutil.rmtree(work.root / side, ignore_errors=True)
    if torch.cuda.is_available():
        gc.collect()  # an earlier model may be kept by a reference cycle
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
