"""Micro-batches: DataLoader workers read, render and tokenize pairs ahead of the step that takes them."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader

from configs.launch.signals import stop_by_parent_only, stop_signals_blocked
from data_prep.contract.chat import answer_text
from data_prep.sampling.images import size_of
from data_prep.sampling.lines import PairPlan
from models.grounder.questions import Encoded, QuestionEncoder
from models.interfaces import Question
from train.pairs import IGNORED, PairQuestions, PairSample, UnreadablePair, encode_answers
from train.sft.batch_sampler import MicroBatchSampler
from train.soft_labels import SoftLabels, soft_labels

PREFETCH = 2  # micro-batches that each worker reads ahead
MAX_WORKERS = 8
BLANK_TOKENS = 8  # side of a blank image, in image tokens


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """Questions with their answers, left-padded; `labels` (batch, length) are IGNORED outside of the answers.

    If no pair could be read, it holds a blank question without labels, because all processes must run the
    same collective operations. `answer_tokens` is the number of labels. `soft` are the soft labels of the
    digits of boxes, None for hard labels.
    """

    encoded: Encoded
    labels: torch.Tensor
    answer_tokens: int
    pairs: int
    unreadable: tuple[UnreadablePair, ...]
    soft: SoftLabels | None = None

    def to(self, device: torch.device) -> "MicroBatch":
        """A copy on a device; asynchronous where the memory is pinned."""
        labels = self.labels.to(device, non_blocking=True)
        soft = self.soft and self.soft.to(device)
        return replace(self, encoded=self.encoded.to(device), labels=labels, soft=soft)

    def pin_memory(self) -> "MicroBatch":
        """A copy in pinned memory. The DataLoader calls it."""
        soft = self.soft and self.soft.pin_memory()
        return replace(self, encoded=self.encoded.pin_memory(), labels=self.labels.pin_memory(), soft=soft)


def num_workers(setting: int | None, device: torch.device) -> int:
    """DataLoader workers of this process: `recipe.workers`; by device and number of cores if it is null."""
    if setting is not None:
        return setting
    # On a CPU the model needs the cores, and one worker is fast enough for it.
    if device.type == "cpu":
        return 1
    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MAX_WORKERS, len(os.sched_getaffinity(0)) // local_processes))


def load_steps(
    plan: PairPlan,
    encoder: QuestionEncoder,
    sampler: MicroBatchSampler,
    steps: range,
    workers: int,
    soft_label_std: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> Iterator[list[MicroBatch]]:
    """The micro-batches of each step, the same for any number of workers.

    `soft_label_std` is that of the recipe; with 0 there are no soft labels. Pixels are converted to the
    `dtype` in which the model computes: it would round them anyway, and bfloat16 halves what a worker sends.
    """
    counts: deque[int] = deque()  # numbers of micro-batches of the steps that are read ahead

    def micro_batches() -> Iterator[list[int]]:
        for step in steps:
            micro = sampler.of_step(step)
            counts.append(len(micro))
            yield from micro

    # 1. The batch sampler is a generator over all steps, so workers read ahead across the ends of steps.
    loader = DataLoader(
        PairQuestions(plan, encoder.contract),
        batch_sampler=micro_batches(),
        collate_fn=partial(collate, encoder, soft_label_std=soft_label_std, dtype=dtype),
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        multiprocessing_context="fork" if workers else None,  # they inherit the blocked signals
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=stop_by_parent_only,
    )
    # 2. The workers start here. A Ctrl-C of the terminal must not end them: they are needed until the step
    #    that is being taken is complete.
    with stop_signals_blocked():
        each = iter(loader)
    # 3. Group the micro-batches by step.
    for _ in steps:
        # Asking for its first micro-batch makes the sampler append the count of the step.
        first = next(each)
        yield [first, *(next(each) for _ in range(counts.popleft() - 1))]


def collate(
    encoder: QuestionEncoder,
    samples: Sequence[PairSample | UnreadablePair],
    soft_label_std: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> MicroBatch:
    """The micro-batch of some samples; those that could not be read are listed in it, and left out."""
    # 1. Leave out what could not be read.
    unreadable = tuple(sample for sample in samples if isinstance(sample, UnreadablePair))
    readable = [sample for sample in samples if isinstance(sample, PairSample)]
    if not readable:
        return _blank(encoder, unreadable)
    # 2. Questions and answers as one text, tokenized and left-padded, and labels: (batch, length) each.
    answers = [
        answer_text(
            encoder.contract,
            sample.box_resized,
            size_of(sample.question.image),
            sample.question.original,
        )
        for sample in readable
    ]
    encoded, labels = encode_answers(encoder, [sample.question for sample in readable], answers)
    encoded.inputs["pixel_values"] = encoded.inputs["pixel_values"].to(dtype)
    # 3. Soft labels of the digits of boxes.
    soft = None
    if soft_label_std:
        soft = soft_labels(labels, encoder.processor.tokenizer, encoder.contract.digits, soft_label_std)
    return MicroBatch(encoded, labels, int((labels != IGNORED).sum()), len(readable), unreadable, soft)


def _blank(encoder: QuestionEncoder, unreadable: tuple[UnreadablePair, ...]) -> MicroBatch:
    """A question without labels, whose loss is 0."""
    side = BLANK_TOKENS * encoder.contract.side_multiple
    image = np.zeros((side, side, 3), np.uint8)
    encoded = encoder.encode([Question(image, "nothing", image, drawn=True)], "")
    return MicroBatch(encoded, torch.full_like(encoded.inputs["input_ids"], IGNORED), 0, 0, unreadable)
