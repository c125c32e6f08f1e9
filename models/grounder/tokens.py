"""Tokens of digits, and new special tokens with embeddings of their own."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from configs.errors import UserError
from models.grounder.classes import QwenVL, QwenVLProcessor

DIGITS = "0123456789"


def digit_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids of the ten digits; these tokenizers never join digits to longer tokens."""
    return [tokenizer(digit, add_special_tokens=False).input_ids[-1] for digit in DIGITS]


def add_tokens(model: QwenVL, processor: QwenVLProcessor, tokens: Sequence[str]) -> list[int]:
    """Add special tokens to tokenizer and model, in place; returns the ids of all `tokens`.

    The embedding of a new token is the mean of those before it. Tokens that are there already stay as they
    are. Raises UserError for a token that is empty or holds a space.
    """
    if wrong := [token for token in tokens if not token or token != "".join(token.split())]:
        raise UserError(f"recipe.tune.tokens: {wrong[0]!r} is no token; give one without spaces, as <ref>")
    tokenizer: Any = processor.tokenizer
    known = len(tokenizer)
    tokenizer.add_tokens(list(tokens), special_tokens=True)
    widen(model, processor)
    with torch.no_grad():
        embeddings: Any = model.get_input_embeddings()
        rows = embeddings.weight
        rows[known : len(tokenizer)] = rows[:known].mean(0)
    return [int(token) for token in tokenizer.convert_tokens_to_ids(list(tokens))]


def widen(model: QwenVL, processor: QwenVLProcessor) -> None:
    """Enlarge the embeddings to the size of the vocabulary, in place, where they are too small.

    The new rows are a function of the old ones, so that adapters fit the weights that they were trained on.
    (Qwen's published weights have some hundred rows to spare.)
    """
    embeddings: Any = model.get_input_embeddings()
    held = len(embeddings.weight)
    if (wanted := len(processor.tokenizer)) <= held:
        return
    model.resize_token_embeddings(wanted, mean_resizing=False)
    with torch.no_grad():
        layers: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
        for layer in layers:
            layer.weight[held:] = layer.weight[:held].mean(0)
