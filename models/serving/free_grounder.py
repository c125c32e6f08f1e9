"""A grounder whose answers are generated elsewhere, as whole texts, and read by its contract here.

Images are resized and marked in this process, exactly as for weights that are loaded here. So the receiver
must not resize them again; the number of tokens that it counts in a question shows whether it does.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Protocol

from configs.errors import UserError
from configs.terminal import shortened
from data_prep.contract.contract import Contract
from data_prep.geometry import Size
from models.grounder.questions import QuestionEncoder
from models.interfaces import Answer, GroundingStatistics, Identity, Question
from models.serving.chat_format import Chat
from models.serving.free_answers import Generated, read_answer

SHOWN = 80  # letters of an answer in a message


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
    visible probability is below `box_threshold` have no box.
    """

    def __init__(
        self,
        encoder: QuestionEncoder,
        generator: TextGenerator,
        named: str,
        identity: Mapping[str, Any],
        box_threshold: float,
    ) -> None:
        self.encoder, self.generator, self.named = encoder, generator, named
        self.box_threshold = box_threshold
        self.statistics = GroundingStatistics()
        self._identity = dict(identity)
        self._checked: set[tuple[Size, ...]] = set()

    @property
    def contract(self) -> Contract:
        """How images are resized, crops are cut and rectangles are drawn."""
        return self.encoder.contract

    def check_expression(self, expression: str) -> None:
        """Raise UserError for an expression that cannot be asked for."""
        self.encoder.check_expression(expression)

    def identity(self) -> Identity:
        """What the answers depend on, as far as it is known here."""
        return {**self._identity, "box_threshold": self.box_threshold}

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions, in order.

        An answer that does not have the form of the contract is counted, and the first one is a warning.
        Raises UserError where the generator gives no answer, or resizes images.
        """
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
        self.statistics.add_seconds("generate", perf_counter() - prepared)
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

    def _warn_of_form(self, text: str) -> None:
        self.statistics.ill_formed_answers += 1
        if self.statistics.ill_formed_answers == 1:
            shown = shortened(" ".join(text.split()), SHOWN)
            warnings.warn(
                f"{self.named}: an answer does not have the form of the contract: {shown!r}; such answers "
                "are counted, and have a box only if it is unmistakable",
                stacklevel=2,
            )
