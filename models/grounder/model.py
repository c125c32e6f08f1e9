"""The model and the processor of the grounder: their types, published sizes, tokens of digits, new tokens."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from configs.errors import UserError
from models.families import FAMILIES, PUBLISHED_SIZES, family_of

QwenVL = (
    Qwen2_5_VLForConditionalGeneration | Qwen3VLForConditionalGeneration | Qwen3_5ForConditionalGeneration
)
"""The type of a grounder's model in annotations. Models of other families have the same methods."""
QwenVLProcessor = Qwen2_5_VLProcessor | Qwen3VLProcessor


def apply_fast_kernels(model: QwenVL) -> None:
    """Replace modules of a model's vision tower by the faster ones of its family, in place.

    Weights and their names do not change, and results are equal up to rounding. Applying it twice has the
    same effect as once.
    """
    apply = family_of(model).apply_fast_kernels
    if apply is not None:
        apply(model.model.visual)


def published_config(name: str) -> Qwen2_5_VLConfig | Qwen3VLConfig | Qwen3_5Config:
    """The configuration of a published size, a key of `models.families.PUBLISHED_SIZES`."""
    size = PUBLISHED_SIZES[name]
    config_class: Any = FAMILIES[size.model_type].model_class().config_class
    # A copy, because the configuration keeps the nested dicts and may change them.
    config: Qwen2_5_VLConfig | Qwen3VLConfig | Qwen3_5Config = config_class(**copy.deepcopy(size.config))
    return config


def build_empty(name: str) -> QwenVL:
    """A model of a published size on the meta device: with all modules and shapes, but without memory."""
    # On the meta device tensors have shapes and dtypes but no storage.
    with torch.device("meta"):
        model: QwenVL = FAMILIES[PUBLISHED_SIZES[name].model_type].model_class()(published_config(name))
    return model


DIGITS = "0123456789"


def digit_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token ids of the ten digits. The tokenizers of these models never merge digits
    into longer tokens.
    """
    return [tokenizer(digit, add_special_tokens=False).input_ids[-1] for digit in DIGITS]


def add_tokens(model: QwenVL, processor: QwenVLProcessor, tokens: Sequence[str]) -> list[int]:
    """Add special tokens to tokenizer and model, in place; returns the ids of all `tokens`.

    The embedding of a new token is the mean of all earlier ones. Existing tokens do not change. Raises
    UserError for a token that is empty or contains a space.
    """
    if invalid := [token for token in tokens if not token or token != "".join(token.split())]:
        raise UserError(
            f"recipe.tune.tokens: {invalid[0]!r} is not a token; give one without spaces, as <ref>"
        )
    tokenizer: Any = processor.tokenizer
    known = len(tokenizer)
    tokenizer.add_tokens(list(tokens), special_tokens=True)
    widen(model, processor)
    with torch.no_grad():
        embeddings: Any = model.get_input_embeddings()
        rows = embeddings.weight
        # Not only rows that `widen` added: Qwen's embeddings have unused rows, which new tokens get first.
        rows[known : len(tokenizer)] = rows[:known].mean(0)
    return [int(token) for token in tokenizer.convert_tokens_to_ids(list(tokens))]


def widen(model: QwenVL, processor: QwenVLProcessor) -> None:
    """Enlarge the embeddings to the size of the vocabulary, in place, where they are too small.

    The new rows are the mean of the old ones. As a function of the old rows they are the same in each process
    and when adapters are loaded, so adapters fit the weights that they were trained on. (The embeddings of
    Qwen's published weights have some hundred rows more than the vocabulary.)
    """
    embeddings: Any = model.get_input_embeddings()
    old_size = len(embeddings.weight)
    if (new_size := len(processor.tokenizer)) <= old_size:
        return
    # `mean_resizing` would draw random rows around the mean.
    model.resize_token_embeddings(new_size, mean_resizing=False)
    with torch.no_grad():
        layers: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
        for layer in layers:
            layer.weight[old_size:] = layer.weight[:old_size].mean(0)
