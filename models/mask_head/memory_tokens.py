"""What a frame attends to: the tokens of memory maps and of object pointers.

The library selects the frames, and encodes how long ago they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from models.mask_head.memory_bank import MemoryBank
from models.mask_head.memory_map import MemoryMap
from models.mask_head.sam2_forward import VideoModel


@dataclass(frozen=True, eq=False)
class MemoryTokens:
    """The tokens of a memory: `tokens` and their position encodings, (tokens, B, channels) each.

    The tokens are those of `num_maps` memory maps, followed by `num_pointer_tokens` of object pointers. They
    have the dtype of the model.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    num_maps: int
    num_pointer_tokens: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """What targets must have in common to be processed in one batch."""
        return len(self.tokens), self.num_maps, self.num_pointer_tokens

    @classmethod
    def of(cls, model: VideoModel, memory: MemoryBank) -> "MemoryTokens":
        """The tokens of a memory, as the frame after its newest one attends to them."""
        session: Any = memory.session()  # of the class of SAM 2; those of the other two have the same code
        # 1. The memory maps of conditioning frames and of recent frames: (L, B, channels) each. Their
        #    position encodings include how many frames ago each of them was.
        frames = model._gather_memory_frame_outputs(session, 0, memory.clock + 1)
        maps, map_positions = model._build_memory_attention_inputs(frames, memory.position.device)
        # 2. The object pointers, which reach further back than the maps.
        tokens, positions = _pointer_tokens(model, *_object_pointers(model, memory, session))
        # Maps are stored in bfloat16. `cat` of tensors of one dtype is faster than of several.
        all_tokens = torch.cat([*(each.to(model.dtype) for each in maps), tokens.to(model.dtype)])
        return cls(all_tokens, torch.cat([*map_positions, positions]), len(maps), len(tokens))

    @classmethod
    def together(cls, targets: Sequence["MemoryTokens"]) -> "MemoryTokens":
        """Tokens of one shape as a batch."""
        if len(targets) == 1:
            return targets[0]
        return cls(
            torch.cat([each.tokens for each in targets], dim=1),
            torch.cat([each.positions for each in targets], dim=1),
            targets[0].num_maps,
            targets[0].num_pointer_tokens,
        )


@dataclass(frozen=True, eq=False)
class TargetTokens:
    """The tokens of the memory of a single target, without the encodings of time of its maps.

    `maps` are pairs of an index in the model's encodings of time and a memory map. `position` (L, channels)
    is the position encoding of each map. `pointers` and `pointer_positions` are (tokens, channels).
    """

    maps: list[tuple[int, MemoryMap]]
    position: torch.Tensor
    pointers: torch.Tensor
    pointer_positions: torch.Tensor

    @classmethod
    def of(cls, model: VideoModel, memories: Sequence[MemoryBank]) -> "list[TargetTokens]":
        """The tokens of the memory of each target, as the frame after its newest one attends to them."""
        sessions: list[Any] = [memory.session() for memory in memories]
        # 1. The memory maps. Conditioning frames have the offset 0, and so the last of the encodings of time,
        #    as in the library.
        maps = []
        for memory, session in zip(memories, sessions, strict=True):
            frames = model._gather_memory_frame_outputs(session, 0, memory.clock + 1)
            maps.append([(offset - 1, frame["memory_map"]) for offset, frame in frames if frame is not None])
        # 2. The object pointers of all targets together, as if they were of one.
        found = [_object_pointers(model, *each) for each in zip(memories, sessions, strict=True)]
        tokens, positions = _pointer_tokens(
            model,
            [offset for offsets, _ in found for offset in offsets],
            [pointer for _, pointers in found for pointer in pointers],
        )
        # 3. Divide them again.
        per_pointer = len(tokens) // sum(len(offsets) for offsets, _ in found)
        counts = [len(offsets) * per_pointer for offsets, _ in found]
        divided = zip(tokens[:, 0].split(counts), positions[:, 0].split(counts), strict=True)
        return [
            cls(of_target, memory.position[:, 0], *pointers)
            for of_target, memory, pointers in zip(maps, memories, divided, strict=True)
        ]


def _object_pointers(
    model: VideoModel, memory: MemoryBank, session: Any
) -> tuple[list[int], list[torch.Tensor]]:
    """How many frames ago each object pointer was, and the pointers, (B, 1, hidden) each."""
    offsets, pointers, _ = model._get_object_pointers(
        session, 0, memory.clock + 1, 0, memory.position.device, streaming=True
    )
    return offsets, pointers


def _pointer_tokens(
    model: VideoModel, offsets: list[int], pointers: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of object pointers, and their position encodings: (tokens, B, channels) each."""
    most = model.config.max_object_pointers_in_encoder
    # Each pointer is split into tokens with as many channels as a memory map has.
    tokens: torch.Tensor
    positions: torch.Tensor
    tokens, positions = model._process_object_pointers(
        offsets, pointers, most, len(pointers[0]), model.hidden_dim, pointers[0].device
    )
    return tokens, positions
