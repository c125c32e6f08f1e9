"""Pairs of indexed data sets as questions with answers, drawn and read when a training asks for them.

A pair is named by its number alone, so the order in which a training takes them is a range of numbers:
rank r of R takes `range(first + r, stop, R)`, and a run that was stopped goes on at its next number. Any
number of DataLoader workers gives the same samples in the same order.
"""

from dataclasses import dataclass
from functools import cached_property

from torch.utils.data import Dataset

from configs.errors import UserError
from data_prep.geometry import Box
from data_prep.prompts import Contract
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.pairs import PairSampler
from data_prep.sampling.pictures import pictures_of
from models.interfaces import Question


@dataclass(frozen=True, eq=False)
class Asked:
    """A question and its answer: the target's box in pixels of the question's image, None: not visible."""

    number: int
    question: Question
    box_resized: Box | None


@dataclass(frozen=True)
class Unread:
    """A pair that cannot be asked, and why: one line that names the file."""

    number: int
    reason: str


class PairQuestions(Dataset[Asked | Unread]):
    """The questions of a plan by their pairs' numbers, their pictures as large as the contract makes them."""

    def __init__(self, plan: PairPlan, contract: Contract) -> None:
        self.plan, self.contract = plan, contract

    @cached_property
    def _sampler(self) -> PairSampler:
        return self.plan.sampler()

    def __getitem__(self, number: int) -> Asked | Unread:
        """A pair as a question. What is wrong with its files is told, not raised: one bad frame of a million
        must not end a training in a worker's traceback.
        """
        (pair,) = self._sampler.pairs(range(number, number + 1))
        try:
            pictures = pictures_of(pair, self.contract)
        except UserError as fault:
            return Unread(number, f"{pair.data} {pair.sequence}: {fault}")
        question = Question(pictures.search, pair.words, pictures.template, drawn=pair.marked)
        return Asked(number, question, pictures.box_resized)
