"""The decisions of a memory policy about the targets of a frame, from the output of the mask decoder.

The alternative masks of a target come with the chosen one, so nothing is decoded twice.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from models.mask_head.memory_bank import MemoryBank
from models.mask_head.memory_policies.policy import WRITTEN, Candidates, Decision, MemoryPolicy
from models.mask_head.sam2_forward import MaskDecoderOutput


def decide(
    policy: MemoryPolicy, decoded: MaskDecoderOutput, memories: Sequence[MemoryBank]
) -> tuple[MaskDecoderOutput, list[Decision]]:
    """The output with the masks that the policy chooses for N targets, and its decisions.

    Each decision depends on its own target alone.
    """
    if not policy.decides:
        return decoded, [WRITTEN] * len(memories)
    # 1. Transfer the numbers of all targets from the GPU at once, and then their masks.
    scores = decoded.score.float()
    numbers = torch.cat([torch.stack([scores, scores.sigmoid()], 1), decoded.ious.float()], 1).cpu().numpy()
    masks = (decoded.logits > 0).cpu().numpy() if policy.needs_masks else None
    # 2. Decide for each target.
    decisions = [
        policy.decide(
            bank.policy_state,
            Candidates(bool(row[0] > 0), float(row[1]), row[2:], None if masks is None else masks[index]),
        )
        for index, (row, bank) in enumerate(zip(numbers, memories, strict=True))
    ]
    if policy.chooses_masks:
        chosen = torch.tensor([each.chosen for each in decisions], device=decoded.ious.device)
        decoded = replace(decoded, chosen=chosen)
    return decoded, decisions
