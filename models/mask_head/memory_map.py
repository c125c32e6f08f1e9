"""The memory map of one frame and one target, which is encoded when it is first needed.

Most frames are attended to later, but not all: of a frame that is propagated and then segmented by a box only
one of the two memories is kept, and none where the target is in doubt. Encoding a map takes longer than
decoding a mask.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

MapSource = Any
"""What a map is encoded from. Only the encoder knows its contents."""
MapEncoder = Callable[[Sequence[MapSource]], Sequence[torch.Tensor]]
"""Encodes several maps together, and returns them in the order of their sources."""


class MemoryMap:
    """A memory map. Its value never changes; until it is needed it is held as its source.

    A source holds the features of its frame. So does a map until it is encoded, and then no longer.
    """

    def __init__(self, source: MapSource, encoder: MapEncoder | None) -> None:
        self._source, self._encoder = source, encoder
        self._features: torch.Tensor | None = None
        # Keys of each layer of the memory attention, where they are kept (`target_attention`).
        self.keys: list[torch.Tensor] | None = None

    @classmethod
    def of(cls, features: torch.Tensor) -> "MemoryMap":
        """A map that is encoded already."""
        found = cls(None, None)
        found._features = features
        return found

    @property
    def is_encoded(self) -> bool:
        """Whether the map has been needed before."""
        return self._features is not None

    @property
    def features(self) -> torch.Tensor:
        """The map, of the shape that `FrameMemory` gives."""
        encode_maps([self])
        assert self._features is not None
        return self._features


def encode_maps(maps: Iterable[MemoryMap]) -> None:
    """Encode those of the maps that are not encoded yet; those with one encoder together."""
    # A map may be in several memories.
    pending: dict[MapEncoder, dict[int, MemoryMap]] = {}
    for each in maps:
        if not each.is_encoded:
            assert each._encoder is not None
            pending.setdefault(each._encoder, {})[id(each)] = each
    for encoder, chosen in pending.items():
        features = encoder([each._source for each in chosen.values()])
        for each, found in zip(chosen.values(), features, strict=True):
            each._features, each._source, each._encoder = found, None, None
