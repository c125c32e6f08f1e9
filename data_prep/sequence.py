"""A sequence: named, ordered frames of one size, with the prompts that refer to its target."""

from dataclasses import dataclass, field
from pathlib import Path

from data_prep.frames import Frames


@dataclass(frozen=True)
class Sequence:
    """One video and the texts that refer to its target.

    `prompts` are as they stand in the data, in order: an empty one is kept, because the result
    format wants a file for it too. `folder` is where the sequence's own files lie (None for a
    plain video file).
    """

    name: str
    frames: Frames
    prompts: tuple[str, ...]
    fps: float = 25.0
    folder: Path | None = None
    metadata: dict[str, str] = field(default_factory=dict)
