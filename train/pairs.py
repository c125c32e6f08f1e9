"""Pairs of indexed data sets as questions with answers, and the labels of the answers.

`PairQuestions` is a map-style dataset. A pair follows from the seed and its number, so a run takes ranges of
numbers, a stopped run resumes at its next number, and any number of DataLoader workers gives the same samples
in the same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from configs.errors import UserError
from data_prep.contract.contract import Contract
from data_prep.geometry import Box
from data_prep.sampling.images import images_of
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.pairs import PairSampler
from models.grounder.questions import Encoded, QuestionEncoder
from models.interfaces import Question

IGNORED = -100  # the label of tokens that are not part of an answer, as in torch's cross_entropy


@dataclass(frozen=True, eq=False)
class PairSample:
    """A question with its answer: the target's box in pixels of the question's image; None: not visible."""

    number: int
    question: Question
    box_resized: Box | None


@dataclass(frozen=True)
class UnreadablePair:
    """A pair that cannot be read, and the reason: one line that names the file."""

    number: int
    reason: str


class PairQuestions(Dataset[PairSample | UnreadablePair]):
    """The questions of a plan, by the numbers of their pairs; images are resized as the contract says."""

    def __init__(self, plan: PairPlan, contract: Contract) -> None:
        self.plan, self.contract = plan, contract

    # Made in the process that reads: the indexes are memory-mapped, and each worker maps them itself.
    @cached_property
    def _sampler(self) -> PairSampler:
        return self.plan.sampler()

    def __getitem__(self, number: int) -> PairSample | UnreadablePair:
        """A pair as a question, or an `UnreadablePair` if a file is damaged.

        It is returned and not raised, because one damaged frame must not end a run.
        """
        (pair,) = self._sampler.pairs(range(number, number + 1))
        try:
            pictures = images_of(pair, self.contract)
        except UserError as fault:
            return UnreadablePair(number, f"{pair.data} {pair.sequence}: {fault}")
        # The image already shows the rectangle, if the pair has one.
        question = Question(
            pictures.search,
            pair.expression,
            pictures.template,
            drawn=pair.marked,
            original=pictures.frame,
        )
        return PairSample(number, question, pictures.box_resized)


def encode_answers(
    encoder: QuestionEncoder, questions: Sequence[Question], answers: Sequence[str]
) -> tuple[Encoded, torch.Tensor]:
    """Tensors of questions with their complete answers, and the labels (batch, length) of the answers.

    `answers` are the texts after the fixed start of an answer (`answer_text`). The labels cover an answer
    from the first token of its start through the end-of-turn token. Inference forces the start and stops at
    the end of the box, but a server that generates freely must know both.
    """
    ended = [answer + encoder.end_of_turn for answer in answers]
    encoded = encoder.encode(questions, ended)
    starts = [encoder.form(question).answer_format.start for question in questions]
    complete = [start + answer for start, answer in zip(starts, ended, strict=True)]
    return encoded, label_answers(encoded.inputs["input_ids"], complete, encoder.processor.tokenizer)


def label_answers(
    input_ids: torch.Tensor, answers: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> torch.Tensor:
    """Labels of a left-padded batch whose rows end with their answers; IGNORED elsewhere.

    `input_ids` and the labels are (batch, length). Raises ValueError if a row does not end with the tokens of
    its answer, as where the tokenizer merges the first of them with the text before.
    """
    labels = torch.full_like(input_ids, IGNORED)
    for row, answer in enumerate(answers):
        # Padding is on the left, so the last tokens of the row are the answer's.
        tokens = tokenizer(answer, add_special_tokens=False).input_ids
        if input_ids[row, -len(tokens) :].tolist() != tokens:
            raise ValueError(f"the tokens of the row do not end with those of its answer {answer!r}")
        labels[row, -len(tokens) :] = input_ids[row, -len(tokens) :]
    return labels
