"""The keys and values of the questions and answers of a batch.

Padding and rejected tokens of a draft stay in the cache, where the attention mask hides them. Positions are
counted by the mask, so hidden columns do not change the positions of later tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from models.grounder.model import QwenVL

KeysValues = list[tuple[torch.Tensor, torch.Tensor]]
"""For each layer the keys and values of one row, (key heads, tokens, width) each."""


@dataclass(eq=False)
class BatchCache:
    """Keys and values of the tokens of a batch.

    `mask` (batch, length) is the attention mask of the columns. `deltas` (batch, 1) are the next position of
    each row minus its number of tokens: with multimodal rotary embeddings an image takes fewer positions than
    tokens.
    """

    keys_values: DynamicCache
    mask: torch.Tensor
    deltas: torch.Tensor

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows only."""
        if list(rows) == list(range(len(self.mask))):
            return
        # `reorder_cache` is annotated for a LongTensor, which no function of torch returns.
        selected: Any = torch.tensor(rows, device=self.mask.device)
        # Not `batch_select_indices`, which caches of linear attention do not have. Layers on several GPUs
        # have their cache there.
        self.keys_values.reorder_cache(selected)
        self.mask, self.deltas = self.mask[selected], self.deltas[selected]

    def first_tokens(self, row: int, count: int) -> KeysValues:
        """The keys and values of the first tokens of a row, without padding."""
        columns = self.mask[row].nonzero()[:count, 0]
        layers: Any = self.keys_values.layers  # of a model without linear attention
        return [
            tuple(
                states[row].index_select(1, columns.to(states.device)) for states in (each.keys, each.values)
            )
            for each in layers
        ]

    def keep_accepted(self, longest: int, accepted: Sequence[int]) -> None:
        """Of the last `longest` columns, which are drafts, keep in each row the `accepted` first ones.

        Columns that no row keeps are cut off. Others stay, and are hidden in the rows that do not keep them.
        """
        if not longest:
            return
        kept = torch.tensor(accepted, device=self.mask.device)[:, None]  # (batch, 1)
        hidden = torch.arange(longest, device=self.mask.device) >= kept  # (batch, longest)
        self.mask[:, -longest:].masked_fill_(hidden, 0)
        if surplus := longest - max(accepted):
            self.keys_values.crop(-surplus)
            self.mask = self.mask[:, :-surplus]

    def forward(self, model: QwenVL, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append the text tokens of each row, padded on the right; the logits behind each of them.

        Logits are (batch, most tokens of a row, vocabulary).
        """
        ids, mask = padded(tokens, self.mask.device)
        # A text token has the same position on all three axes: (3, batch, columns).
        columns = torch.arange(ids.shape[1], device=ids.device)
        positions = (self.mask.sum(1, keepdim=True) + self.deltas + columns).expand(3, -1, -1)
        self.mask = torch.cat([self.mask, mask.to(self.mask.dtype)], dim=1)
        logits: torch.Tensor = model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.keys_values,
            use_cache=True,
        ).logits
        return logits


def padded(tokens: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of token ids, padded on the right, and the mask of what is no padding: (batch, longest) both."""
    longest = max(map(len, tokens))
    ids = [[*row, *[0] * (longest - len(row))] for row in tokens]  # any id serves as padding: it is hidden
    mask = [[True] * len(row) + [False] * (longest - len(row)) for row in tokens]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
