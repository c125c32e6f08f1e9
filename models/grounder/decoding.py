"""The tokens of an answer format, and greedy decoding of boxes.

A text of the format must be one token where a probability is read from its logit. Decoding goes on for all
rows of a batch together, until each has ended its box or its list of boxes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from transformers.cache_utils import DynamicCache

from configs.errors import UserError
from data_prep.contract.formats import AnswerFormat
from models.grounder.model import QwenVL, digit_tokens

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
        device: torch.device,
    ) -> None:
        self.format = answer_format
        # `decode` is annotated for batches too, with which it returns a list.
        self.tokenizer: Any = tokenizer

        def ids_of(text: str) -> list[int]:
            ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
            return ids

        def decision(text: str, others: tuple[str, ...]) -> list[int]:
            # Other spellings count where the vocabulary has them as one token.
            single = [ids[0] for each in (text, *others) if len(ids := ids_of(each)) == 1]
            # Qwen3.5 has no token for `[` with a line break. The decision is then the first of its tokens.
            # A tokenizer without its files has no tokens at all.
            if not set(ids_of(text)[:1]) & set(single):
                raise UserError(
                    f"{key}: its tokenizer splits {text!r}, which must be one token; take the "
                    "contract of these weights (model.contract=), or restore tokenizer.json"
                )
            return single

        def containing(text: str) -> torch.Tensor:
            # A bracket may be part of a longer token, such as `]}`.
            found = [index for index, token in enumerate(vocabulary) if text in token]
            return torch.tensor(found, device=device)

        self.visible: list[int] = []
        self.absent: list[int] = []
        if answer_format.has_decision:
            self.visible = decision(answer_format.visible, answer_format.also_visible)
            self.absent = decision(answer_format.absent, answer_format.also_absent)
        self.forced_length = len(ids_of(answer_format.forced_prefix))
        self.digits = torch.tensor(digit_tokens(tokenizer), device=device)
        self.closing, self.opening = containing(answer_format.closing), containing(OPENING)
        self.ending, self.max_tokens = self.closing, MAX_BOX_TOKENS
        if answer_format.list_end:
            # A model may also end its turn without the end of the list.
            turn_end = [
                index for index in (tokenizer.eos_token_id, tokenizer.pad_token_id) if index is not None
            ]
            ends = containing(answer_format.list_end).tolist() + turn_end
            self.ending, self.max_tokens = torch.tensor(ends, device=device), MAX_LIST_TOKENS

    def visible_probability(self, logits: torch.Tensor) -> torch.Tensor:
        """The probability of visible against absent: logits (batch, vocabulary) -> (batch,)."""
        decision = logits[:, self.visible + self.absent].float().softmax(-1)
        return decision[:, : len(self.visible)].sum(-1)

    def decoded(self, tokens: torch.Tensor, scores: torch.Tensor) -> DecodedAnswer:
        """The answer of one row: `tokens` and their log-probabilities `scores` are (steps,).

        A row that does not end within these steps has all of its tokens. The tokens begin inside a box.
        """
        tokens_end = torch.isin(tokens, self.ending.to(tokens.device)).nonzero()
        length = int(tokens_end[0, 0]) if len(tokens_end) else len(tokens)
        tokens, scores = tokens[:length], scores[:length]
        text = self.tokenizer.decode(tokens)
        if not self.format.list_end:
            return DecodedAnswer(text, [self._box(tokens, scores)])
        # In a list, a box reaches from a token with `[` to the next one with `]`. A single token may close
        # one box and open the next.
        boxes, start, is_open = [], 0, True
        closes = torch.isin(tokens, self.closing.to(tokens.device)).tolist()
        opens = torch.isin(tokens, self.opening.to(tokens.device)).tolist()
        for index in range(length):
            if is_open and index - start >= MAX_BOX_TOKENS:
                break
            if is_open and closes[index]:
                boxes.append(self._box(tokens[start:index], scores[start:index]))
                is_open = False
            if opens[index]:
                start, is_open = index + 1, True
        # A list without any complete box has one that cannot be parsed.
        return DecodedAnswer(text, boxes or [self._box(tokens, scores)])

    def _box(self, tokens: torch.Tensor, scores: torch.Tensor) -> DecodedBox:
        are_digits = torch.isin(tokens, self.digits.to(tokens.device))
        return self.tokenizer.decode(tokens), scores[are_digits]


def decode_greedily(
    model: QwenVL,
    logits: torch.Tensor,
    mask: torch.Tensor,
    deltas: torch.Tensor,
    cache: DynamicCache,
    answer_tokens: AnswerTokens,
    is_any_open: Callable[[torch.Tensor], bool],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode greedily until every row has ended; the tokens and their log-probabilities, (batch, steps) both.

    `logits` (batch, vocabulary) are those of the first number's first token. `mask` (batch, length) and
    `deltas` (batch, 1) are the attention mask and the position offsets of what is in the cache. `is_any_open`
    is called with the bool tensor (batch,) of the rows that have not ended.
    """
    tokens, scores = [], []  # (batch,) for each step
    ending = answer_tokens.ending.to(logits.device)  # training may move the model after construction
    closing, opening = answer_tokens.closing.to(logits.device), answer_tokens.opening.to(logits.device)
    open_rows = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
    # The number of tokens since a box began, and whether it is not yet closed.
    length, is_inside = open_rows.new_zeros(len(logits), dtype=torch.long), open_rows.clone()
    for _ in range(answer_tokens.max_tokens):
        # 1. The most likely token of each row. Closed rows are decoded on with the others, because the batch
        #    is one tensor. Their further tokens are dropped in `AnswerTokens.decoded`.
        best = logits.float().log_softmax(-1).max(-1)
        tokens.append(best.indices)
        scores.append(best.values)
        length += 1
        is_inside &= ~torch.isin(best.indices, closing)
        opens = torch.isin(best.indices, opening)
        is_inside, length = is_inside | opens, length.masked_fill(opens, 0)
        # A box that does not close is none, so nothing after it is needed.
        open_rows &= ~torch.isin(best.indices, ending) & ~(is_inside & (length >= MAX_BOX_TOKENS))
        if not is_any_open(open_rows):
            break
        # 2. The next logits. With multimodal rotary embeddings an image takes fewer positions than tokens,
        #    hence the offsets `deltas`. A text token has the same position on all three axes: (3, batch, 1).
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        logits = model(
            input_ids=best.indices[:, None],
            attention_mask=mask,
            position_ids=(mask.sum(1, keepdim=True) - 1 + deltas).expand(3, -1, -1),
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
    return torch.stack(tokens, dim=1), torch.stack(scores, dim=1)
