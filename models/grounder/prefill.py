"""The forward pass over the questions of a batch, with the vision tower before it.

The columns of a batch are the questions, padded on the left, then drafts of their answers, padded on the
right. Where questions have a prefix that is computed by itself (`models.grounder.prefixes`), the columns are
the prefixes, padded on the left, then the rest of the questions, padded on the left again, then the drafts.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from transformers import BatchFeature
from transformers.cache_utils import DynamicCache, DynamicLayer

from models.grounder.batch_cache import BatchCache, KeysValues, padded
from models.grounder.forward import VisionFeatures, encode_some, forward
from models.grounder.model import QwenVL
from models.grounder.prefixes import Prefix, PrefixCache, PrefixKey
from models.grounder.questions import Encoded
from models.interfaces import GroundingStatistics


class Prefiller:
    """Computes the questions of a batch; what they have in common is computed once.

    Every image is encoded once. With `shares_prefixes` so is the beginning that several questions have in
    common (`models.grounder.prefixes`). Weights that are sharded over processes do not allow it: all
    processes must compute the same number of forward passes.
    """

    def __init__(self, model: QwenVL, statistics: GroundingStatistics, shares_prefixes: bool) -> None:
        self.model, self.statistics = model, statistics
        self.prefixes = PrefixCache() if shares_prefixes and can_split(model) else None

    def run(
        self,
        encoded: Encoded,
        num_logits: int,
        device: torch.device,
        drafts: Sequence[Sequence[int]] = (),
        is_asked_again: bool = False,
    ) -> tuple[torch.Tensor, BatchCache]:
        """`prefill` of a batch that is still on the CPU, on a device.

        `is_asked_again`: a later batch of this call has the same questions.
        """
        # 1. The prefixes that questions have in common, and those of them that are not known yet.
        prefixes = [] if self.prefixes is None else self.prefixes.find(encoded)
        held = {} if self.prefixes is None else self.prefixes.held(prefixes)
        new = {prefix.key: prefix for prefix in prefixes if prefix.key not in held}
        self._count_tokens(encoded, prefixes, new.values())
        # 2. The images, without those of known prefixes. Those of new prefixes are encoded alone, so that
        #    they do not depend on the other images.
        rows = zip(encoded.image_indices, prefixes, strict=True) if prefixes else ()
        rest = {index for row, prefix in rows for index in row if index not in prefix.images}
        alone = {index for prefix in new.values() for index in prefix.images}
        images = rest | alone if prefixes else range(len(encoded.inputs["image_grid_thw"]))
        moved = encoded.to(device)
        with self.statistics.timed("vision"):
            features = encode_some(self.model, moved, images, alone)
            self.statistics.vision_encodings += len(features)
        # 3. The questions.
        with self.statistics.timed("prefill"):
            logits, cache = prefill(self.model, moved, features, drafts, num_logits, prefixes, held)
        if self.prefixes is not None and new:
            self.prefixes.keep(list(new.values()), held)
        if self.prefixes is not None and is_asked_again:
            self.prefixes.keep_questions(encoded, cache)
        return logits, cache

    def end_call(self) -> None:
        """Drop what only questions of the present call have in common."""
        if self.prefixes is not None:
            self.prefixes.end_call()

    def release(self) -> bool:
        """Drop what is kept because memory has run out. Returns whether earlier calls had left anything."""
        return self.prefixes is not None and self.prefixes.release()

    def _count_tokens(self, encoded: Encoded, prefixes: Sequence[Prefix], new: Collection[Prefix]) -> None:
        tokens = int(encoded.inputs["attention_mask"].sum())
        shared = sum(prefix.length for prefix in prefixes) - sum(prefix.length for prefix in new)
        self.statistics.prompt_tokens += tokens - shared
        self.statistics.shared_tokens += shared


def can_split(model: QwenVL) -> bool:
    """Whether questions can be computed in two parts, the second of them padded between the two.

    The state of linear attention (Qwen3.5) would take in that padding, and a sliding window does not keep the
    keys of a whole prefix.
    """
    return all(type(layer) is DynamicLayer for layer in _empty_cache(model).layers)


def prefill(
    model: QwenVL,
    encoded: Encoded,
    features: Mapping[int, VisionFeatures],
    drafts: Sequence[Sequence[int]],
    num_logits: int,
    prefixes: Sequence[Prefix] = (),
    held: dict[PrefixKey, KeysValues] | None = None,
) -> tuple[torch.Tensor, BatchCache]:
    """The forward pass over questions, with the tokens of a draft behind each; empty: none.

    `features` are those of all images that are not in a prefix whose keys and values are in `held`. With
    `prefixes`, one for each question, those that are missing in `held` are computed first, and added to it.

    Returns the logits behind the last `num_logits` tokens of the questions and behind each token of the
    drafts, (batch, num_logits + longest draft, vocabulary), and the cache.
    """
    # 1. Append the drafts: (batch, length) -> (batch, length + longest draft).
    longest = max(map(len, drafts), default=0)
    if longest:
        encoded = _with_drafts(encoded, drafts)
    # 2. Only the logits that are read are computed.
    kept = num_logits + longest
    if prefixes:
        return _prefill_rest(model, encoded, features, kept, prefixes, {} if held is None else held)
    keys_values = _empty_cache(model)
    output = forward(
        model, encoded, features, past_key_values=keys_values, use_cache=True, logits_to_keep=kept
    )
    # 3. The forward pass has set the deltas.
    cache = BatchCache(keys_values, encoded.inputs["attention_mask"], model.model.rope_deltas)
    return output.logits, cache


def _prefill_rest(
    model: QwenVL,
    encoded: Encoded,
    features: Mapping[int, VisionFeatures],
    num_logits: int,
    prefixes: Sequence[Prefix],
    held: dict[PrefixKey, KeysValues],
) -> tuple[torch.Tensor, BatchCache]:
    """`prefill` of questions with prefixes; the drafts are in `encoded` already."""
    inputs, mask = encoded.inputs, encoded.inputs["attention_mask"]
    # 1. Positions of whole questions, (3, batch, length): those behind an image depend on its size.
    positions, deltas = model.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=inputs["image_grid_thw"][[index for row in encoded.image_indices for index in row]],
        attention_mask=mask,
    )
    # 2. The prefixes that are not known yet, each by itself.
    for row, prefix in enumerate(prefixes):
        if prefix.key not in held:
            held[prefix.key] = _prefix_keys_values(model, encoded, features, positions, row, prefix)
    # 3. Keys and values of the prefixes, copied for each question: (batch, key heads, longest prefix, width).
    keys_values = _batched([held[prefix.key] for prefix in prefixes], _empty_cache(model))
    columns = torch.arange(mask.shape[1], device=mask.device)
    longest = keys_values.get_seq_length()
    lengths = torch.tensor([[prefix.length] for prefix in prefixes], device=mask.device)
    prefix_mask = torch.arange(longest, device=mask.device) >= longest - lengths  # (batch, longest prefix)
    # 4. The columns from the first one that belongs to the rest of a question. In the other rows those that
    #    belong to the prefix are hidden; their placeholders of images have no features.
    first = min(prefix.stop for prefix in prefixes)
    stops = torch.tensor([[prefix.stop] for prefix in prefixes], device=mask.device)
    is_rest = (columns >= stops)[:, first:]  # (batch, columns of the rest)
    rest = replace(
        encoded,
        inputs=BatchFeature(
            {
                "input_ids": inputs["input_ids"][:, first:].masked_fill(~is_rest, 0),
                "attention_mask": torch.cat([prefix_mask.to(mask.dtype), mask[:, first:] * is_rest], dim=1),
                "mm_token_type_ids": inputs["mm_token_type_ids"][:, first:] * is_rest,
                "image_grid_thw": inputs["image_grid_thw"],
            }
        ),
        image_indices=[
            [index for index in row if index not in prefix.images]
            for row, prefix in zip(encoded.image_indices, prefixes, strict=True)
        ],
    )
    output = forward(
        model,
        rest,
        features,
        position_ids=positions[:, :, first:],
        past_key_values=keys_values,
        use_cache=True,
        logits_to_keep=num_logits,
    )
    return output.logits, BatchCache(keys_values, rest.inputs["attention_mask"], deltas)


def _prefix_keys_values(
    model: QwenVL,
    encoded: Encoded,
    features: Mapping[int, VisionFeatures],
    positions: torch.Tensor,
    row: int,
    prefix: Prefix,
) -> KeysValues:
    """The keys and values of the prefix of one question; `positions` (3, batch, length) are those of all."""
    columns = slice(prefix.start, prefix.stop)
    inputs = {
        name: encoded.inputs[name][row : row + 1, columns]
        for name in ("input_ids", "attention_mask", "mm_token_type_ids")
    }
    part = replace(
        encoded,
        inputs=BatchFeature({**inputs, "image_grid_thw": encoded.inputs["image_grid_thw"]}),
        image_indices=[list(prefix.images)],
    )
    cache = _empty_cache(model)
    forward(
        model,
        part,
        features,
        position_ids=positions[:, row : row + 1, columns],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    layers: Any = cache.layers  # `can_split`: all of them have keys and values
    return [(layer.keys[0], layer.values[0]) for layer in layers]


def _batched(rows: Sequence[KeysValues], cache: DynamicCache) -> DynamicCache:
    """The cache with the keys and values of several rows, padded on the left: (batch, heads, longest, width)
    in each layer.
    """
    longest = max(row[0][0].shape[-2] for row in rows)

    def stacked(states: Sequence[torch.Tensor]) -> torch.Tensor:
        if all(each is states[0] for each in states):
            return states[0].expand(len(states), -1, -1, -1)
        # (heads, tokens, width): padding counts from the last dimension.
        return torch.stack([F.pad(each, (0, 0, longest - each.shape[-2], 0)) for each in states])

    for layer in range(len(rows[0])):
        keys, values = zip(*(row[layer] for row in rows), strict=True)
        cache.update(stacked(keys), stacked(values), layer)
    return cache


def _empty_cache(model: QwenVL) -> DynamicCache:
    return DynamicCache(config=model.config.get_text_config())


def _with_drafts(encoded: Encoded, drafts: Sequence[Sequence[int]]) -> Encoded:
    """The batch with the tokens of a draft behind each row, padded on the right."""
    inputs = encoded.inputs
    ids, mask = padded(drafts, inputs["input_ids"].device)
    appended = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": torch.zeros_like(ids)}
    longer = {
        name: torch.cat([inputs[name], columns.to(inputs[name].dtype)], dim=1)
        for name, columns in appended.items()
    }
    return replace(encoded, inputs=BatchFeature({**inputs, **longer}))
