"""Miniature VOTSr workspaces in the real layout: a few frames of 64 by 48, and each trap by name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.votsr.regions import encode_mask
from data_prep.votsr.results import result_path, write_result
from data_prep.votsr.textfiles import sequence_folder, write_sequence, write_truth, write_workspace
from data_prep.votsr.toolkit import ensure_tracker

SIZE = (64, 48)
PROMPTS = ("the red cup", "a cup on the left")
TRACKER = "Mine"


def write_frame(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 150)).save(path)


def add_sequence(root: Path, name: str, num_frames: int = 4, prompts: Sequence[str] = PROMPTS) -> Path:
    """A sequence in color/%08d.jpg; its folder."""
    folder = sequence_folder(root, name)
    for number in range(1, num_frames + 1):
        write_frame(folder / "color" / f"{number:08d}.jpg")
    write_sequence(folder, prompts, 10.0)
    return folder


def make_workspace(root: Path, names: Sequence[str] = ("ball", "kite"), num_frames: int = 4) -> Path:
    """A workspace of sound sequences without truth."""
    for name in names:
        add_sequence(root, name, num_frames)
    write_workspace(root, names)
    return root


def disc(x: float, y: float, radius: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A mask (height, width) of a disc."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def add_truth(
    folder: Path, masks: Sequence[np.ndarray | None], annotated: Sequence[bool], ignore: bool = False
) -> None:
    """Truth in the validation set's layout; with `ignore` the left quarter counts nowhere."""
    write_truth(folder / "groundtruth_object1.txt", masks, annotated, SIZE)
    if ignore:
        hidden = np.zeros((SIZE[1], SIZE[0]), bool)
        hidden[:, : SIZE[0] // 4] = True
        count = len(masks)
        write_truth(folder / "groundtruth__ignore.txt", [hidden] * count, [True] * count, SIZE)


def add_results(
    root: Path, name: str, masks: Sequence[np.ndarray | None], prompts: Sequence[str] = PROMPTS
) -> None:
    """The same result for every prompt, and a section in trackers.ini."""
    for prompt in prompts:
        path = result_path(root, TRACKER, name, prompt)
        write_result(path, [encode_mask(mask) for mask in masks], len(masks))
    ensure_tracker(root / "trackers.ini", TRACKER)


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder: when it was written, and its bytes."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
