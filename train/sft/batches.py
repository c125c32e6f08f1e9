"""Micro-batches: pairs read, drawn and tokenized in a worker, ahead of the step that takes them."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader

from data_prep.prompts import answer_text
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.pictures import size_of
from data_prep.signals import heed_parent_only, signals_blocked
from models.grounder.questions import Encoded, QuestionEncoder
from models.interfaces import Question
from train.answers import IGNORED, label_answers
from train.pairs import Asked, PairQuestions, Unread
from train.sft.smoothing import SoftDigits, soft_digits
from train.sft.split import Split

AHEAD = 2  # micro-batches that each worker reads ahead
MOST_WORKERS = 8
BLANK_TOKENS = 8  # of a blank picture's side


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """Questions with their answers, left-padded; `labels` (batch, length) are `IGNORED` outside the answers.

    Where no pair could be read there is a blank one without labels: what processes do together they must
    all do. `answer_tokens` counts the labels; `soft` are those of a box's digits, where they are not
    taken as they stand.
    """

    encoded: Encoded
    labels: torch.Tensor
    answer_tokens: int
    pairs: int
    unread: tuple[Unread, ...]
    soft: SoftDigits | None = None

    def to(self, device: torch.device) -> "MicroBatch":
        """The same questions on a device; copied while it works where their memory is pinned."""
        labels = self.labels.to(device, non_blocking=True)
        soft = self.soft and self.soft.to(device)
        return replace(self, encoded=self.encoded.to(device), labels=labels, soft=soft)

    def pin_memory(self) -> "MicroBatch":
        """The same questions in memory that a GPU copies from by itself; the DataLoader calls this."""
        soft = self.soft and self.soft.pin_memory()
        return replace(self, encoded=self.encoded.pin_memory(), labels=self.labels.pin_memory(), soft=soft)


def workers_of(wanted: int | None, device: torch.device) -> int:
    """Processes that read for this one: as many as are wanted, else by what the device is and the cores."""
    if wanted is not None:
        return wanted
    if device.type == "cpu":
        return 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) // here))


def steps_of(
    plan: PairPlan,
    encoder: QuestionEncoder,
    split: Split,
    steps: range,
    workers: int,
    smoothing: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> Iterator[list[MicroBatch]]:
    """The micro-batches of each step; any number of workers gives the same ones.

    With `smoothing` the labels of boxes are soft, as wide as that share of a target's sides. Pixels come in
    the `dtype` of the model's arithmetic, which would round them so anyway: in bfloat16 they are half as much
    to hand over.
    """
    counts: deque[int] = deque()  # of the micro-batches of steps that are being read ahead

    def micro_batches() -> Iterator[list[int]]:
        for step in steps:
            micro = split.of_step(step)
            counts.append(len(micro))
            yield from micro

    loader = DataLoader(
        PairQuestions(plan, encoder.contract),
        batch_sampler=micro_batches(),
        collate_fn=partial(collate, encoder, smoothing=smoothing, dtype=dtype),
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        multiprocessing_context="fork" if workers else None,  # a worker heeds its parent's signals alone
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=heed_parent_only,
    )
    with signals_blocked():
        each = iter(loader)
    for _ in steps:
        first = next(each)  # by now its step has been counted
        yield [first, *(next(each) for _ in range(counts.popleft() - 1))]


def collate(
    encoder: QuestionEncoder,
    samples: Sequence[Asked | Unread],
    smoothing: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> MicroBatch:
    """Tensors of samples; those that could not be read are told and left out."""
    unread = tuple(sample for sample in samples if isinstance(sample, Unread))
    asked = [sample for sample in samples if isinstance(sample, Asked)]
    if not asked:
        return _blank(encoder, unread)
    answers = [
        answer_text(encoder.contract, sample.box_resized, size_of(sample.question.image)) for sample in asked
    ]
    encoded = encoder.encode([sample.question for sample in asked], answers)
    encoded.inputs["pixel_values"] = encoded.inputs["pixel_values"].to(dtype)
    tokenizer = encoder.processor.tokenizer
    labels = label_answers(encoded.inputs["input_ids"], answers, tokenizer)
    soft = soft_digits(labels, tokenizer, encoder.contract.digits, smoothing) if smoothing else None
    return MicroBatch(encoded, labels, int((labels != IGNORED).sum()), len(asked), unread, soft)


def _blank(encoder: QuestionEncoder, unread: tuple[Unread, ...]) -> MicroBatch:
    """A question about nothing, from which nothing is learned."""
    side = BLANK_TOKENS * encoder.contract.side_multiple
    picture = np.zeros((side, side, 3), np.uint8)
    encoded = encoder.encode([Question(picture, "nothing", picture, drawn=True)], "")
    return MicroBatch(encoded, torch.full_like(encoded.inputs["input_ids"], IGNORED), 0, 0, unread)
