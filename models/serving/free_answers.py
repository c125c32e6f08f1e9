r"""Answers that a model generated freely, with the log-probabilities of their tokens, read by a contract.

In this process the beginning of an answer is forced, and only the numbers of a box are decoded
(`models.grounder.grounder`). A server generates the whole answer, so its parts are looked for in the text:

    ```json\n [\n \t{"bbox_2d": [12, 34, 56, 78], "label": …
    start     decision              box

The visible probability is that of the tokens of the decision at its place, as in this process. An answer of
another form is read by `parse_free`, with the outcomes that docs/inference.md lists.
"""

import bisect
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_prep.contract.formats import AnswerFormat
from data_prep.contract.parsing import Outcome, parse_free
from data_prep.geometry import Size
from models.grounder.answers import best_box
from models.grounder.questions import QuestionEncoder
from models.interfaces import Answer, Question

BOX = re.compile(rb"\[([^\[\]]*)\]")  # an innermost list; the first group is what stands inside of it


@dataclass(frozen=True)
class GeneratedToken:
    """A token of an answer: its text in UTF-8, and its log-probability.

    `alternatives` are the log-probabilities of the most likely tokens at this place, by their texts. The
    chosen token is among them. It is empty where a server gives none.
    """

    text: bytes
    logprob: float
    alternatives: Mapping[bytes, float]


@dataclass(frozen=True)
class Generated:
    """A freely generated answer.

    `tokens` is None where log-probabilities were not asked for. `prompt_tokens` is the number of tokens of
    the question, with those of its images, as the server counts them; None: unknown.
    """

    text: str
    tokens: tuple[GeneratedToken, ...] | None = None
    prompt_tokens: int | None = None


@dataclass(frozen=True)
class ReadAnswer:
    """An answer, and whether the text had the form of the contract."""

    answer: Answer
    is_well_formed: bool

    @property
    def is_readable(self) -> bool:
        """Whether the text says anything about the target, in whatever form."""
        return self.is_well_formed or parse_free(self.answer.text).outcome is not Outcome.UNREADABLE


class _Text:
    """The bytes of an answer, and the tokens by their places in it.

    The tokens are joined instead of the text of the reply, because a server may leave parts such as the
    thought out of that text.
    """

    def __init__(self, generated: Generated) -> None:
        self.tokens = generated.tokens or ()
        texts = [token.text for token in self.tokens]
        self.data = b"".join(texts) if texts else generated.text.encode()
        self._starts = list(itertools.accumulate(map(len, texts), initial=0))[:-1]

    def token_at(self, place: int) -> GeneratedToken | None:
        """The token that begins at a place, or None."""
        index = bisect.bisect_left(self._starts, place)
        found = index < len(self._starts) and self._starts[index] == place
        return self.tokens[index] if found else None

    def digit_confidence(self, start: int, stop: int) -> float:
        """The geometric mean of the probabilities of the tokens of digits between two places.

        1 where log-probabilities are not known.
        """
        if not self.tokens:
            return 1.0
        first, last = bisect.bisect_left(self._starts, start), bisect.bisect_left(self._starts, stop)
        scores = [token.logprob for token in self.tokens[first:last] if token.text.strip().isdigit()]
        return math.exp(sum(scores) / len(scores)) if scores else 0.0


def read_answer(
    encoder: QuestionEncoder, question: Question, generated: Generated, resized: Size
) -> ReadAnswer:
    """Read a generated answer to a question by its contract; `resized` is the size of its search image.

    The answer has a box only where the text says that the target is visible. The visible probability of a
    text of another form is the confidence of its only box, and 0 without one.
    """
    answers = encoder.form(question).answer_format
    text = _Text(generated)
    # 1. The thought of a thinking model. Where it does not come to an end, there is no answer.
    begin = _after_thought(text, answers)
    if begin is None:
        return ReadAnswer(Answer(0.0, None, 0.0, generated.text), is_well_formed=False)
    # 2. The decision between visible and absent.
    visible = 1.0
    if answers.has_decision:
        start = _start(answers)
        place = text.data.find(start, begin)
        begin = place + len(start)
        says = _decision_at(text.data, begin, answers) if place >= 0 else None
        if says is None:
            return ReadAnswer(_read_other_form(encoder, question, generated, resized), is_well_formed=False)
        visible = _visible_probability(text.token_at(begin), answers, says)
        if not says:
            return ReadAnswer(Answer(visible, None, 0.0, generated.text), is_well_formed=True)
    # 3. The boxes: of several the one with the most probable digits (`best_box`).
    candidates = [
        (found[1].decode(errors="replace"), text.digit_confidence(*found.span(1)))
        for found in BOX.finditer(text.data, begin)
    ]
    box, confidence, repeats = best_box(encoder, question, candidates, resized)
    if not answers.has_decision:
        visible = 0.0 if box is None else confidence
    parsed = any(answers.parse(numbers) is not None for numbers, _ in candidates)
    answer = Answer(visible, box, confidence, generated.text, repeats_visual_prompt=repeats)
    return ReadAnswer(answer, is_well_formed=parsed)


def _after_thought(text: _Text, answers: AnswerFormat) -> int | None:
    """Where the answer begins behind the thought; None: the thought does not come to an end."""
    if not answers.thought_end:
        return 0
    end = answers.thought_end.encode()
    place = text.data.rfind(end)
    if place >= 0:
        return place + len(end)
    # A server that returns the thought apart leaves it out of the text, but not out of the tokens.
    is_apart = not text.tokens and answers.has_decision and text.data.lstrip().startswith(_start(answers))
    return 0 if is_apart else None


def _start(answers: AnswerFormat) -> bytes:
    """The fixed start of an answer. Servers may remove the empty line between it and a thought."""
    return answers.start.lstrip().encode()


def _decision_at(data: bytes, place: int, answers: AnswerFormat) -> bool | None:
    """Whether the text at a place says visible or absent; None: neither."""
    options = [(text, True) for text in (answers.visible, *answers.also_visible)]
    options += [(text, False) for text in (answers.absent, *answers.also_absent)]
    # The longest text that fits: `[` opens a list, and `[]` is an empty one.
    fitting = [(len(text), says) for text, says in options if data.startswith(text.encode(), place)]
    return max(fitting)[1] if fitting else None


def _visible_probability(token: GeneratedToken | None, answers: AnswerFormat, says: bool) -> float:
    """The probability of visible against absent at the token of the decision.

    `says` is what the text says. It alone counts where no log-probabilities are known for this place.
    """
    if token is None:
        return float(says)

    def mass(texts: Sequence[str]) -> float:
        return sum(
            math.exp(token.alternatives[key])
            for text in texts
            if (key := text.encode()) in token.alternatives
        )

    # As in this process: the softmax over the tokens of the decision alone. One that is not among the
    # alternatives has a probability of about 0.
    visible = mass((answers.visible, *answers.also_visible))
    absent = mass((answers.absent, *answers.also_absent))
    if visible + absent > 0:
        return visible / (visible + absent)
    chosen = math.exp(token.logprob)
    return chosen if says else 1.0 - chosen


def _read_other_form(
    encoder: QuestionEncoder, question: Question, generated: Generated, resized: Size
) -> Answer:
    """The answer of a text that does not have the form of the contract."""
    found = parse_free(generated.text)
    if found.outcome is not Outcome.BOX or found.box is None:
        return Answer(0.0, None, 0.0, generated.text)
    text = _Text(generated)
    box = encoder.to_image(question, found.box, resized)
    confidence = 0.0 if box is None else text.digit_confidence(0, len(text.data))
    return Answer(confidence, box, confidence, generated.text)
