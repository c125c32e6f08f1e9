"""The model as it is trained: from a micro-batch to the summed loss of its answer tokens."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from models.grounder.classes import QwenVL
from models.grounder.forward import encode_images, forward, forward_packed
from models.grounder.questions import Encoded
from train.answers import IGNORED
from train.sft.batches import MicroBatch
from train.sft.smoothing import soft_loss


class Learner(nn.Module):
    """A grounder's model with adapters, if it has any, in place.

    Everything that is trained runs in `forward`, since what spreads a training over processes (DDP,
    DeepSpeed, FSDP) works there.
    """

    def __init__(self, model: QwenVL, packed: bool, sees: bool, together: bool = False) -> None:
        """`sees`: vision tower or projector learns; otherwise nothing is kept of them to learn from.

        `together`: the weights lie in shares, so every process must call each part of the model as often.
        """
        super().__init__()
        self.model, self.packed, self.sees, self.together = model, packed, sees, together

    def forward(self, batch: MicroBatch | Callable[[], Any]) -> Any:
        """How far the answer tokens are from their labels, summed, float32; 0 where there are none.

        A function is called instead, for other uses of a model whose weights are whole in here only.
        """
        if not isinstance(batch, MicroBatch):
            return batch()
        logits, targets = self._predictions(batch.encoded, batch.labels)
        if batch.soft is not None:
            return soft_loss(logits, targets, batch.soft.of_answers(batch.labels), batch.soft.tokens)
        return F.cross_entropy(logits.float(), targets, reduction="sum")

    def trained(self) -> list[nn.Parameter]:
        """The weights that learn."""
        return [weight for weight in self.parameters() if weight.requires_grad]

    def _predictions(self, encoded: Encoded, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (answer tokens, vocabulary) and the tokens that they should have been.

        Where nothing is to be learned no logits are computed: an answer is some thirty of a thousand tokens,
        and the vocabulary is wide.
        """
        inputs = encoded.inputs
        with torch.set_grad_enabled(self.sees and torch.is_grad_enabled()):
            features = encode_images(
                self.model, inputs["pixel_values"], inputs["image_grid_thw"], self.together
            )
        if self.packed:
            kept = labels[inputs["attention_mask"].bool()]
            where = (kept[1:] != IGNORED).nonzero()[:, 0]
            packed: Any = forward_packed(self.model, encoded, features, logits_to_keep=where)
            return packed.logits[0], kept[where + 1]
        answer = int((labels != IGNORED).sum(1).max())
        output: Any = forward(self.model, encoded, features, use_cache=False, logits_to_keep=answer + 1)
        targets = labels[:, labels.shape[1] - answer :]
        chosen = targets != IGNORED
        return output.logits[:, :-1][chosen], targets[chosen]
