"""A grounder whose answers are generated elsewhere, as whole texts, and read by its contract here.

Images are resized and marked in this process, exactly as for weights that are loaded here. So the receiver
must not resize them again; the number of tokens that it counts in a question shows whether it does.
"""

import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any, Protocol

from configs.errors import UserError
from configs.terminal import shortened
from data_prep.contract.contract import Contract
from data_prep.geometry import Size
from models.grounder.questions import QuestionEncoder
from models.grounder.regions import locate_in_regions
from models.grounder.second_look import OFF, look_twice
from models.interfaces import Answer, GroundingStatistics, Identity, Question
from models.serving.chat_format import Chat
from models.serving.free_answers import Generated, ReadAnswer, read_answer

SHOWN = 80  # letters of an answer in a message
# A model may fail to answer a hard question, but not so many in a row: then another model is served, or the
# server is broken. Tracks would be written as absent, and kept.
MAX_UNREADABLE = 8
# A batch is slow if it takes more seconds than this, and so many times as long as the median of the latest.
SLOW_SECONDS, SLOW_RATIO = 5.0, 10
NUM_LATEST, MIN_LATEST = 50, 10  # batches of which the median is taken, and the fewest that suffice


class TextGenerator(Protocol):
    """Generates answers to chats: `models.serving.chat_client.ChatClient`, or vLLM in this process."""

    @property
    def num_retries(self) -> int:
        """The number of requests that were repeated so far."""
        ...

    def generate(self, chats: Sequence[Chat]) -> list[Generated]:
        """The answers to chats, in their order, by greedy decoding. Raises UserError."""
        ...


class FreeGrounder:
    """Asks a generator by a contract; implements `models.interfaces.Grounding`.

    `named` begins messages about the generator, `identity` is what its answers depend on, and answers whose
    visible probability is below `box_threshold` have no box. `second_look` says which answers are of two
    looks (`models.grounder.second_look`).
    """

    def __init__(
        self,
        encoder: QuestionEncoder,
        generator: TextGenerator,
        named: str,
        identity: Mapping[str, Any],
        box_threshold: float,
        second_look: str = OFF,
    ) -> None:
        self.encoder, self.generator, self.named = encoder, generator, named
        self.box_threshold, self.second_look = box_threshold, second_look
        self.statistics = GroundingStatistics()
        self._identity = dict(identity)
        self._checked: set[tuple[Size, ...]] = set()
        self._latest_seconds: deque[float] = deque(maxlen=NUM_LATEST)
        self._has_warned_of_slowness = False
        self._num_unreadable = 0  # the latest answers in a row that say nothing about the target

    @property
    def contract(self) -> Contract:
        """How images are resized, crops are cut and rectangles are drawn."""
        return self.encoder.contract

    def check_expression(self, expression: str) -> None:
        """Raise UserError for an expression that cannot be asked for."""
        self.encoder.check_expression(expression)

    def identity(self) -> Identity:
        """What the answers depend on, as far as it is known here."""
        # Results of versions without second looks keep their identity.
        second_look = {} if self.second_look == OFF else {"second_look": self.second_look}
        return {**self._identity, **second_look, "box_threshold": self.box_threshold}

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions, in order. Some are asked twice (`second_look`).

        An answer that does not have the form of the contract is counted, and the first one is a warning.
        Raises UserError where the generator gives no answer, resizes images, or gives answers that cannot be
        read, `MAX_UNREADABLE` in a row.
        """
        return look_twice(
            questions, self._locate_in_regions, self.contract, self.second_look, self.statistics
        )

    def _locate_in_regions(self, questions: Sequence[Question]) -> list[Answer]:
        return locate_in_regions(questions, self._locate_images, self.contract)

    def _locate_images(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions about whole images, each once."""
        start = perf_counter()
        chats = []
        for question in questions:
            self.check_expression(question.expression)
            chats.append(Chat(self.encoder.chat(question), self.encoder.images(question)))
        prepared = perf_counter()
        retries = self.generator.num_retries
        try:
            generated = self.generator.generate(chats)
        finally:
            self.statistics.retries += self.generator.num_retries - retries
        self.statistics.questions += len(questions)
        self.statistics.batches += 1
        self.statistics.add_seconds("preprocess", prepared - start)
        seconds = perf_counter() - prepared
        self.statistics.add_seconds("generate", seconds)
        self._check_speed(seconds)
        return [
            self._answer(question, chat, each)
            for question, chat, each in zip(questions, chats, generated, strict=True)
        ]

    def _answer(self, question: Question, chat: Chat, generated: Generated) -> Answer:
        sizes = [(image.shape[1], image.shape[0]) for image in chat.images]
        self._check_prompt(question, sizes, generated)
        read = read_answer(self.encoder, question, generated, sizes[-1])
        if not read.is_well_formed:
            self._warn_of_form(generated.text)
        self._check_readable(read, generated.text)
        answer = read.answer
        return replace(answer, box_xyxy=None) if answer.visible < self.box_threshold else answer

    def _check_prompt(self, question: Question, sizes: Sequence[Size], generated: Generated) -> None:
        """Raise UserError where the generator counts another number of tokens in a question.

        Then it has resized an image, or its chat template is another one. This is checked once for each
        combination of sizes, because the limits of an image processor concern some sizes only.
        """
        if generated.prompt_tokens is None or tuple(sizes) in self._checked:
            return
        expected = self.encoder.prompt_tokens(question, sizes)
        if generated.prompt_tokens != expected:
            shown = " and ".join(f"{width}x{height}" for width, height in sizes)
            raise UserError(
                f"{self.named}: a question with images of {shown} pixels has {generated.prompt_tokens} "
                f"tokens there, and {expected} by the contract; it resizes images (raise max_pixels of its "
                "image processor, or lower model.search_tokens=), or has another chat template"
            )
        self._checked.add(tuple(sizes))

    def _check_speed(self, seconds: float) -> None:
        """Warn, once, where answers take much longer than before; they may stay below the time limit."""
        if len(self._latest_seconds) >= MIN_LATEST and not self._has_warned_of_slowness:
            usual = median(self._latest_seconds)
            if seconds > max(SLOW_SECONDS, SLOW_RATIO * usual):
                self._has_warned_of_slowness = True
                warnings.warn(
                    f"{self.named}: a batch of answers took {seconds:.0f} s, and {usual:.2g} s before; it "
                    "has become slow, see its log and what else it serves. The run goes on",
                    stacklevel=2,
                )
        self._latest_seconds.append(seconds)

    def _warn_of_form(self, text: str) -> None:
        self.statistics.ill_formed_answers += 1
        if self.statistics.ill_formed_answers == 1:
            warnings.warn(
                f"{self.named}: an answer does not have the form of the contract: {_shown(text)}; such "
                "answers are counted, and have a box only if it is unmistakable",
                stacklevel=2,
            )

    def _check_readable(self, read: ReadAnswer, text: str) -> None:
        """Raise UserError where too many answers in a row cannot be read."""
        self._num_unreadable = 0 if read.is_readable else self._num_unreadable + 1
        if self._num_unreadable >= MAX_UNREADABLE:
            raise UserError(
                f"{self.named}: {self._num_unreadable} answers in a row cannot be read, the last one is "
                f"{_shown(text)}; check that the model of model= is served, and that model.contract= is its "
                "contract, then run the same command again"
            )


def _shown(text: str) -> str:
    """An answer for a message: one short line in quotes."""
    return repr(shortened(" ".join(text.split()), SHOWN))
