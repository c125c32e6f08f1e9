"""A folder of frames in order, fitted to what is said of them."""

import re
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.frames import ImageFrames
from data_prep.images import image_size

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
NUMBER = re.compile(r"(\d+)(?=\D*$)")  # the last one of a name


def picture_names(folder: Path) -> list[str]:
    """Names of the pictures in a folder, by their numbers, whether padded or not.

    Raises UserError where the folder is missing or holds none, or has a frame twice, as `1.jpg` and `1.png`.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        raise UserError(f"{folder}: no such folder of frames; unpack them there") from None
    pictures = [name for name in names if name.lower().endswith(ENDINGS) and name[0] != "."]
    if not pictures:
        raise UserError(f"{folder}: holds no pictures; unpack them there")
    stems = {_stem(name): name for name in pictures}
    if len(stems) < len(pictures):
        name = next(name for name in pictures if stems[_stem(name)] != name)
        raise UserError(f"{folder}: holds {name} and {stems[_stem(name)]}; remove the one that is no frame")
    return sorted(pictures, key=_order)


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _order(name: str) -> tuple[int, list[int], str]:
    """By the last number; where that is the same, as in `t9_left1` and `t10_left1`, by all of them."""
    number = NUMBER.search(_stem(name))
    return int(number[1]) if number else -1, [int(digits) for digits in re.findall(r"\d+", name)], name


def frames_of(folder: Path, names: list[str]) -> ImageFrames:
    """Frames that lie in a folder, all of the first one's size. Raises UserError where that is no picture."""
    return ImageFrames(tuple(folder / name for name in names), image_size(folder / names[0]))


def fitted(folder: Path, names: list[str], boxes: np.ndarray) -> tuple[list[str], tuple[str, ...]]:
    """The frames that boxes (F, 4) speak of, and a note where there are more.

    Fewer frames than boxes cannot be mended, since nobody knows which are missing: UserError.
    """
    if len(names) < len(boxes):
        raise UserError(
            f"{folder}: {len(names)} frames for {len(boxes)} boxes; restore the missing frames, "
            "or leave the sequence out"
        )
    if len(names) == len(boxes):
        return names, ()
    return names[: len(boxes)], (f"{folder}: {len(names)} frames for {len(boxes)} boxes; the last are left",)
