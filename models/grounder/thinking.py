"""The thought of a thinking model, which it writes before its answer."""

import re

import torch
from transformers import PreTrainedTokenizerBase

from data_prep.contract.formats import AnswerFormat
from models.grounder.batch_cache import BatchCache
from models.grounder.model import QwenVL

# Tokens of each row that are searched for the end of the thought: it has at most about ten.
TAIL = 16


def think(
    model: QwenVL,
    tokenizer: PreTrainedTokenizerBase,
    logits: torch.Tensor,
    cache: BatchCache,
    answer_format: AnswerFormat,
    limit: int,
) -> list[str]:
    """The thoughts about a batch of questions, each up to and with the format's `thought_end`.

    `logits` (batch, 1, vocabulary) are those behind the questions; `cache` is used up. The model generates
    greedily, at most `limit` tokens, whatever the generation_config.json of a checkpoint says. A thought that
    does not come to an end within them is ended by `thought_limit`.
    """
    thoughts: list[list[int]] = [[] for _ in range(len(logits))]
    turn_ends, decoding = _turn_ends(model), list(thoughts)
    for number in range(limit):
        # 1. The most likely token of each row.
        for thought, token in zip(decoding, logits[:, -1].argmax(-1).tolist(), strict=True):
            thought.append(token)
        # 2. Rows that have ended are removed. The end is searched as text, because a tokenizer may write it
        #    in several ways, and join its last character with what follows.
        tails = tokenizer.batch_decode([thought[-TAIL:] for thought in decoding])
        kept = [
            row
            for row, (thought, tail) in enumerate(zip(decoding, tails, strict=True))
            if answer_format.thought_end not in tail and thought[-1] not in turn_ends
        ]
        if not kept or number + 1 == limit:
            break
        cache.select(kept)
        decoding = [decoding[row] for row in kept]
        # 3. The logits behind it.
        logits = cache.forward(model, [thought[-1:] for thought in decoding])
    # 4. The texts without control tokens: the end of the turn, and placeholders of images, which would be
    #    taken for further images of the question.
    texts = tokenizer.batch_decode(thoughts, skip_special_tokens=True)
    return [_ended(text, answer_format) for text in texts]


def _turn_ends(model: QwenVL) -> set[int]:
    """The tokens that end a turn: one or several in the generation_config.json of a checkpoint."""
    ends = model.generation_config.eos_token_id
    return set(ends if isinstance(ends, list) else [ends])


def _ended(text: str, answer_format: AnswerFormat) -> str:
    """A generated text up to the end of its thought, which is added where it is missing."""
    thought, end, _ = text.partition(answer_format.thought_end)
    if end:
        return thought + end
    # The beginning of an end that was cut off at the limit would be written twice.
    return re.sub(r"</?\w*$", "", text) + answer_format.thought_limit
