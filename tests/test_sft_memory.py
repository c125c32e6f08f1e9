"""How micro-batches get to a GPU: from pinned memory, all of them, while it works."""

from typing import Any

import pytest
import torch
from transformers import BatchFeature

from models.grounder.questions import Encoded
from train.sft.batches import MicroBatch


def batch() -> MicroBatch:
    inputs = BatchFeature({"input_ids": torch.ones(2, 3, dtype=torch.long), "pixel_values": torch.rand(4, 5)})
    return MicroBatch(Encoded(inputs, [[0], [1]], [(28, 28)] * 2), torch.zeros(2, 3), 4, 2, ())


def test_every_tensor_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The DataLoader calls `pin_memory` of what is no tensor; without a GPU PyTorch's own does nothing."""
    pinned = []
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda self: pinned.append(self.data_ptr()) or self.clone()
    )
    whole = batch()
    moved = whole.pin_memory()
    assert set(pinned) == {
        whole.labels.data_ptr(),
        *(values.data_ptr() for values in whole.encoded.inputs.values()),
    }
    assert moved.encoded.image_indices == whole.encoded.image_indices and moved.answer_tokens == 4
    assert torch.equal(moved.encoded.inputs["pixel_values"], whole.encoded.inputs["pixel_values"])


def test_tensors_travel_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[bool] = []
    to = torch.Tensor.to

    def noted(self: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        waits.append(not named.get("non_blocking", False))
        return to(self, *arguments, **named)

    monkeypatch.setattr(torch.Tensor, "to", noted)
    batch().to(torch.device("cpu"))
    assert len(waits) == 3 and not any(waits)
