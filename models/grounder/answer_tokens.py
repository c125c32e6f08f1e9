"""The tokens of an answer format.

A text of the format must be one token where a probability is read from its logit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from configs.errors import UserError
from data_prep.contract.contract import Contract
from data_prep.contract.formats import AnswerFormat
from models.grounder.model import digit_tokens

MAX_BOX_TOKENS = 32  # four numbers of up to five digits, with separators and the closing bracket
MAX_LIST_TOKENS = 256  # about eight boxes with labels; a row also ends in a box of MAX_BOX_TOKENS
OPENING = "["  # begins a further box in a list

DecodedBox = tuple[str, torch.Tensor]  # the text of a box's numbers, the log-probabilities of their digits


@dataclass(frozen=True, eq=False)
class DecodedAnswer:
    """What one row has decoded: the text up to its end, and its boxes in their order."""

    text: str
    boxes: list[DecodedBox]


class AnswerTokens:
    """The token ids of an answer format in the vocabulary of a tokenizer.

    `vocabulary` are the tokens of all ids as texts. Raises UserError, which begins with `key`, where the
    decision between visible and absent is no single token.
    """

    def __init__(
        self,
        key: str,
        answer_format: AnswerFormat,
        tokenizer: PreTrainedTokenizerBase,
        vocabulary: list[str],
    ) -> None:
        self.format = answer_format
        # `decode` is annotated for batches too, with which it returns a list.
        self.tokenizer: Any = tokenizer

        def decision(text: str, others: tuple[str, ...]) -> list[int]:
            # Other spellings count where the vocabulary has them as one token.
            single = [ids[0] for each in (text, *others) if len(ids := self._ids(each)) == 1]
            # Qwen3.5 has no token for `[` with a line break. The decision is then the first of its tokens.
            # A tokenizer without its files has no tokens at all.
            if not set(self._ids(text)[:1]) & set(single):
                raise UserError(
                    f"{key}: its tokenizer splits {text!r}, which must be one token; take the "
                    "contract of these weights (model.contract=), or restore tokenizer.json"
                )
            return single

        def containing(text: str) -> frozenset[int]:
            # A bracket may be part of a longer token, such as `]}`.
            return frozenset(index for index, token in enumerate(vocabulary) if text in token)

        self.visible: list[int] = []
        self.absent: list[int] = []
        if answer_format.has_decision:
            self.visible = decision(answer_format.visible, answer_format.also_visible)
            self.absent = decision(answer_format.absent, answer_format.also_absent)
        self.forced_length = len(self._ids(answer_format.forced_prefix))
        self.ordered_digits = digit_tokens(tokenizer)
        self.digits = frozenset(self.ordered_digits)
        self.closing, self.opening = containing(answer_format.closing), containing(OPENING)
        self.ending, self.max_tokens = self.closing, MAX_BOX_TOKENS
        if answer_format.list_end:
            # A model may also end its turn without the end of the list.
            turn_end = {tokenizer.eos_token_id, tokenizer.pad_token_id} - {None}
            self.ending = containing(answer_format.list_end) | turn_end
            self.max_tokens = MAX_LIST_TOKENS

    def visible_probability(self, logits: torch.Tensor) -> torch.Tensor:
        """The probability of visible against absent: logits (batch, vocabulary) -> (batch,)."""
        decision = logits[:, self.visible + self.absent].float().softmax(-1)
        return decision[:, : len(self.visible)].sum(-1)

    def draft(self, numbers: str) -> list[int]:
        """The tokens of an answer with these numbers, from the first number up to the token that ends it."""
        ids = self._ids(numbers + self.format.box_end)
        length = next((index for index, token in enumerate(ids) if token in self.ending), len(ids))
        return ids[:length]

    def decoded(self, tokens: Sequence[int], scores: Sequence[float]) -> DecodedAnswer:
        """The answer of one row, of which `tokens` were decoded with the log-probabilities `scores`.

        A row that has not ended has all of its tokens. The tokens begin inside a box.
        """
        length = next((index for index, token in enumerate(tokens) if token in self.ending), len(tokens))
        tokens, scores = tokens[:length], scores[:length]
        text = self.tokenizer.decode(tokens)
        if not self.format.list_end:
            return DecodedAnswer(text, [self._box(tokens, scores)])
        # In a list, a box reaches from a token with `[` to the next one with `]`. A single token may close
        # one box and open the next.
        boxes, start, is_open = [], 0, True
        for index, token in enumerate(tokens):
            if is_open and index - start >= MAX_BOX_TOKENS:
                break
            if is_open and token in self.closing:
                boxes.append(self._box(tokens[start:index], scores[start:index]))
                is_open = False
            if token in self.opening:
                start, is_open = index + 1, True
        # A list without any complete box has one that cannot be parsed.
        return DecodedAnswer(text, boxes or [self._box(tokens, scores)])

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def digit_scores(self, tokens: Sequence[int], scores: Sequence[float]) -> torch.Tensor:
        """The scores of those tokens that are digits."""
        digits = [score for token, score in zip(tokens, scores, strict=True) if token in self.digits]
        return torch.tensor(digits)

    def _box(self, tokens: Sequence[int], scores: Sequence[float]) -> DecodedBox:
        return self.tokenizer.decode(tokens), self.digit_scores(tokens, scores)


def tokens_of_formats(
    key: str, contract: Contract, tokenizer: PreTrainedTokenizerBase
) -> dict[AnswerFormat, AnswerTokens]:
    """The tokens of all formats of answers that a contract can ask for.

    Raises UserError, which begins with `key`, for a tokenizer that lacks a token.
    """
    # By id. `convert_ids_to_tokens` of all ids takes ten times as long.
    ids = {index: token for token, index in tokenizer.get_vocab().items()}
    missing = next((index for index in range(len(ids)) if index not in ids), None)
    if missing is not None:
        raise UserError(f"{key}: its tokenizer has no token of id {missing}; restore tokenizer.json")
    vocabulary = [ids[index] for index in range(len(ids))]
    return {each: AnswerTokens(key, each, tokenizer, vocabulary) for each in contract.formats}


def geometric_mean(scores: torch.Tensor) -> float:
    """The geometric mean of probabilities, given their logarithms; 0 of none.

    Unlike the product, it does not fall with the number of digits of a box.
    """
    return float(scores.mean().exp()) if len(scores) else 0.0
