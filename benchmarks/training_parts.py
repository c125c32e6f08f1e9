"""The gain of each optimization in `python -m benchmarks training`: steps with it and without it in turn.

All steps belong to one run and have similar batches, so that other processes on the machine disturb all of
them alike. The results are medians of processor time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from accelerate import Accelerator
from peft.tuners.lora.layer import Linear
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as library

from benchmarks.training_work import Work
from models.config import GrounderConfig
from models.grounder.forward import encode_images, forward_packed
from models.grounder.questions import Encoded, QuestionEncoder
from models.interfaces import Question
from models.kernels import qwen2_5_vl
from models.kernels.fused import FusedLoraLinear
from train.loop.strategies import DDPStrategy
from train.loop.trainer import Trainer
from train.pairs import IGNORED
from train.sft.batches import MicroBatch
from train.sft.model import GrounderForTraining
from train.sft.objective import SftObjective, sft_trainer

Without = Callable[[Trainer[SftObjective]], AbstractContextManager[None]]


@contextmanager
def padded(training: Trainer[SftObjective]) -> Iterator[None]:
    """Padded rows of one length, instead of packed rows."""
    with patch.object(training.strategy.model, "packed", False):
        yield


@contextmanager
def all_logits(_: Trainer[SftObjective]) -> Iterator[None]:
    """Logits of all tokens, instead of those of the answer tokens alone."""
    with patch.object(GrounderForTraining, "_predictions", _all_predictions):
        yield


def _all_predictions(
    self: GrounderForTraining, encoded: Encoded, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = encoded.inputs
    with torch.set_grad_enabled(self.trains_vision and torch.is_grad_enabled()):
        features = encode_images(self.model, inputs["pixel_values"], inputs["image_grid_thw"])
    # (B, T) -> (tokens): a packed row holds the tokens of all questions, without padding.
    kept = labels[inputs["attention_mask"].bool()]
    # The logits of a token predict the next one. The first token of a question is never part of an answer,
    # so no prediction crosses from one question to the next.
    where = (kept[1:] != IGNORED).nonzero()[:, 0]
    return forward_packed(self.model, encoded, features).logits[0][where], kept[where + 1]


@contextmanager
def tower_with_gradients(training: Trainer[SftObjective]) -> Iterator[None]:
    """The frozen vision tower runs with gradients, as if it were trained."""
    with patch.object(training.strategy.model, "trains_vision", True):
        yield


@contextmanager
def plain_tower(_: Trainer[SftObjective]) -> Iterator[None]:
    """The vision tower of transformers, without our kernels."""
    # Our classes are subclasses of these and keep their parameters, so the original `forward` runs on them.
    pairs: list[tuple[Any, Any]] = [
        (qwen2_5_vl.WindowAttention, library.Qwen2_5_VLVisionAttention),
        (qwen2_5_vl.LinearPatchEmbed, library.Qwen2_5_VisionPatchEmbed),
        (qwen2_5_vl.InPlaceMLP, library.Qwen2_5_VLMLP),
        (qwen2_5_vl.FewPassNorm, library.Qwen2_5_VLRMSNorm),
    ]
    with ExitStack() as stack:
        for ours, theirs in pairs:
            stack.enter_context(patch.object(ours, "forward", theirs.forward))
        yield


@contextmanager
def plain_adapters(_: Trainer[SftObjective]) -> Iterator[None]:
    """The adapters as peft applies them, without our fused layers."""
    with patch.object(FusedLoraLinear, "forward", Linear.forward):
        yield


@contextmanager
def pictures_apart(_: Trainer[SftObjective]) -> Iterator[None]:
    """Images are prepared and encoded again for each question, instead of being shared."""
    keys = count()
    known = QuestionEncoder._parts

    def apart(encoder: QuestionEncoder, question: Question) -> list:
        # Images with equal keys are shared. A running number makes every key another one.
        return [((*key, next(keys)), render) for key, render in known(encoder, question)]

    with patch.object(QuestionEncoder, "_parts", apart):
        yield


PARTS: dict[str, Without] = {
    "packed rows": padded,
    "logits of answers alone": all_logits,
    "frozen vision tower without gradients": tower_with_gradients,
    "vision tower in large operations": plain_tower,
    "adapters in fewer passes": plain_adapters,
    "pictures shared by questions": pictures_apart,
}
DECODED = "pictures decoded in workers ahead"


def gains(work: Work, steps: int) -> dict[str, float]:
    """The time of a step without each optimization, divided by the time with all of them.

    The last entry compares a step that reads its images itself with one whose images were read by a worker.
    """
    # 1. Enough pairs for all turns, of which the first is not timed. A turn has one step with all parts, and
    #    one without each part. Without workers, images are read in this process, where that can be timed.
    recipe = replace(work.recipe, workers=0, pairs=work.recipe.batch * (steps + 1) * (len(PARTS) + 1))
    model = GrounderConfig(str(work.checkpoint), dtype=work.dtype)
    accelerator = Accelerator(cpu=work.device.type == "cpu", mixed_precision=work.mixed)
    training = sft_trainer(recipe, model, work.root / "parts", DDPStrategy(accelerator))
    batches = training.objective.batches(range(training.objective.steps))
    whole: list[float] = []
    reading: list[float] = []
    without: dict[str, list[float]] = {name: [] for name in PARTS}
    # 2. In each turn, take all kinds of steps one after the other.
    for turn in range(steps + 1):
        taken = {name: _step(training, batches, part) for name, part in {"": _whole, **PARTS}.items()}
        if turn:  # not the first
            whole.append(taken[""][1])
            reading.append(taken[""][0])
            for name, each in without.items():
                each.append(taken[name][1])
    # 3. Compare medians. A step that reads its own images needs the time for reading in addition.
    message = {name: median(each) / median(whole) for name, each in without.items()}
    return {**message, DECODED: 1 + median(reading) / median(whole)}


@contextmanager
def _whole(_: Trainer[SftObjective]) -> Iterator[None]:
    yield


def _step(
    training: Trainer[SftObjective], batches: Iterator[list[MicroBatch]], part: Without
) -> tuple[float, float]:
    """The seconds for reading the pairs of a step, and for the step itself."""
    stamps = [_now()]
    # The batch is made within the block too: some parts change how images are prepared.
    with part(training):
        batch = next(batches)
        stamps.append(_now())
        training.take_step(batch)
        stamps.append(_now())
    return stamps[1] - stamps[0], stamps[2] - stamps[1]


def _now() -> float:
    """Processor time. On a GPU, wall-clock time after all kernels have finished."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()
