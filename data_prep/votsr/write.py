"""Writing a workspace: the text files around the frames, and the truth."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_prep.files import inside, write_whole
from data_prep.geometry import Size
from data_prep.votsr.regions import ABSENT, encode_empty, encode_mask
from data_prep.votsr.textfiles import read_properties
from data_prep.votsr.workspace import STACK

NOT_ANNOTATED = "0"


def write_workspace(root: Path, names: Iterable[str], stack: str = STACK) -> None:
    """Write config.yaml and sequences/list.txt of a workspace whose sequences have these names."""
    config = f"registry:\n- ./trackers.ini\nsequences: sequences\nstack: {stack}\n"
    write_whole(root / "config.yaml", config)
    write_whole(root / "sequences" / "list.txt", "".join(f"{name}\n" for name in names))


def sequence_folder(root: Path, name: str) -> Path:
    """The folder of a sequence in a workspace written by `write_workspace`."""
    return inside(root / "sequences", name)


def write_sequence(folder: Path, prompts: Sequence[str], fps: float, **properties: str) -> None:
    """Write the `sequence` file of a sequence whose frames lie in color/%08d.jpg unless `properties` says.

    Keys with a dot are given as `**{"channels.color": "color/%08d.png"}`. A prompt that would not come
    back as it is (it holds a `;` or a line end, or begins or ends the line with a blank) is refused.
    """
    values = {
        "channels.color": "color/%08d.jpg",
        "format": "default",
        "fps": f"{fps:g}",
        "name": folder.name,
        "prompts": ";".join(prompts),
        **properties,
    }
    path = folder / "sequence"
    write_whole(path, "".join(f"{key}={values[key]}\n" for key in sorted(values)))
    assert read_properties(path, "").get("prompts", "").split(";") == list(prompts), prompts


def write_truth(
    path: Path, masks: Sequence[np.ndarray | None], annotated: Sequence[bool], size: Size
) -> None:
    """Write a truth file: one line a frame, whole or not at all.

    A frame that is not annotated counts nowhere; one that is, with no mask or an empty one (height,
    width), says that the target is absent. `size` is the frame's width and height.
    """
    pairs = zip(masks, annotated, strict=True)
    lines = [truth_line(mask, size) if known else NOT_ANNOTATED for mask, known in pairs]
    write_whole(path, "".join(f"{line}\n" for line in lines))


def truth_line(mask: np.ndarray | None, size: Size) -> str:
    """The line of an annotated frame; without a mask, or with an empty one, the target is absent."""
    line = encode_mask(mask)
    return encode_empty(size) if line == ABSENT else line
