"""Where the pictures of frames come from that a report shows."""

from typing import Protocol

import numpy as np


class PictureSource(Protocol):
    """Knows the frames of a benchmark and how to draw results on them."""

    def pictures(self, a: str, b: str) -> list[tuple[str, np.ndarray]]:
        """Where `a` and `b` differ most: captions and RGB uint8 (height, width, 3), the most first."""
        ...
