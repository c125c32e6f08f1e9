"""A second look at small targets (`model.second_look`): the question again, about a window around the box.

A search image has few pixels and fewer tokens, in which a small target is hardly more than a dot. After the
whole frame was searched, the grounder is asked again with the same words about a part of the frame around its
first box, at the frame's own resolution. The box of the second answer is more exact. Both answers together
decide whether the target is visible.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from data_prep.contract.contract import Contract
from data_prep.contract.images import search_size
from data_prep.contract.windows import search_window
from data_prep.geometry import area
from models.grounder.regions import Locate
from models.interfaces import Answer, GroundingStatistics, Question

OFF, SMALL, ALWAYS = "off", "small", "always"
# Pixels of the search image: the root of the area of a box that counts as small. Of targets of less than 32
# pixels, the small grounder's first boxes are often larger than they are.
SMALL_SIDE = 40.0
SCALE = 3.0  # sides of the window, as a multiple of those of the first box
MIN_PROBABILITY = 1e-6  # probabilities are clipped to it and its complement, so that log-odds are finite


def second_look_of(setting: str, contract: Contract) -> str:
    """What `model.second_look` means for a contract: `off`, `small` or `always`."""
    if setting != "auto":
        return setting
    return SMALL if contract.search_sizes else OFF


def look_twice(
    questions: Sequence[Question],
    locate: Locate,
    contract: Contract,
    mode: str,
    statistics: GroundingStatistics,
) -> list[Answer]:
    """The answers to questions; those whose box is small (`small`) or that have one (`always`) are of two
    looks.

    `locate` answers questions, also those about a region of their frame.
    """
    first = list(locate(questions))
    if mode == OFF:
        return first
    # 1. The second questions, by their position.
    again = {
        position: second
        for position, (question, answer) in enumerate(zip(questions, first, strict=True))
        if (second := _second_question(question, answer, contract, mode)) is not None
    }
    if not again:
        return first
    # 2. All of them are asked together.
    statistics.second_looks += len(again)
    answers = dict(zip(again, locate(list(again.values())), strict=True))
    return [
        merged(answer, answers[position]) if position in answers else answer
        for position, answer in enumerate(first)
    ]


def _second_question(question: Question, answer: Answer, contract: Contract, mode: str) -> Question | None:
    """The question about the window around an answer's box; None: there is no second look."""
    box, size = answer.box_xyxy, (question.image.shape[1], question.image.shape[0])
    # The image of a training pair is no frame, and a region or a search crop is a closer look already.
    form = contract.form(question.template is not None, question.marked)
    if box is None or question.drawn or question.region_xyxy is not None or form.is_cropped:
        return None
    if mode == SMALL:
        width, height = search_size(contract, size)
        if area(box) * (width * height) / (size[0] * size[1]) >= SMALL_SIDE**2:
            return None
    # A draft that was accepted without decoding is not to be decoded after all.
    accepted = question.accept_draft_from
    if accepted is not None and (answer.draft_probability or 0.0) >= accepted:
        return None
    window = search_window(box, size, contract, SCALE)
    if window is None:
        return None
    # Without the visual prompt: its rectangle would be as large as the window.
    return Question(
        question.image,
        question.expression,
        region_xyxy=window,
        draft_xyxy=box,
        of_track=question.of_track,
    )


def merged(first: Answer, second: Answer) -> Answer:
    """One answer of two looks: the box of the second one, and the mean of their evidence for the target.

    `draft_probability` is that of the first look, whose question had the draft.
    """
    visible = 1 / (1 + math.exp(-(_log_odds(first.visible) + _log_odds(second.visible)) / 2))
    if second.box_xyxy is None:
        return replace(first, visible=visible)
    # The second question has no rectangle that its box could repeat.
    return replace(second, visible=visible, draft_probability=first.draft_probability)


def _log_odds(probability: float) -> float:
    clipped = min(max(probability, MIN_PROBABILITY), 1 - MIN_PROBABILITY)
    return math.log(clipped / (1 - clipped))
