"""The folders of a data set: folders of sequences and of classes, lists of names, and folders of frames."""

import os
import re
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import inside, is_folder, read_text
from data_prep.video.frames import ImageFrames
from data_prep.video.images import image_size

FOREIGN = {"__MACOSX", "@eaDir", "lost+found"}  # left by an archiver, a NAS, a file system


def folders_of(root: Path, skip: tuple[str, ...] = ()) -> list[Path]:
    """The folders in `root` by name, without hidden and foreign ones and those named in `skip`.

    Raises UserError where `root` is no folder or contains none.
    """
    remedy = "check root=, and that the data are unpacked there"
    try:
        with os.scandir(root) as found:  # unlike a list of names it knows folders without a look at each
            names = sorted(each.name for each in found if each.name[0] != "." and is_folder(each))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{root}: no such folder; {remedy}") from None
    except OSError as fault:
        raise UserError(f"{root}: cannot be listed ({fault.strerror}); {remedy}") from None
    # Folders of archivers and file systems are not sequences.
    names = [name for name in names if name not in FOREIGN and name not in skip]
    if not names:
        raise UserError(f"{root}: holds no sequences; {remedy}")
    return [root / name for name in names]


def first_there(folder: Path, *names: str) -> Path:
    """The path of the first of these names that exists in a folder; that of `names[0]` where none does."""
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])


def read_names(path: Path) -> list[str]:
    """The names in a list file, one on each line, without blank lines.

    Raises UserError where the file is missing or empty.
    """
    # Lists may have blank lines and end without a line end.
    names = [line.strip() for line in read_text(path, "restore the list of the split").splitlines()]
    names = [name for name in names if name]
    if not names:
        raise UserError(f"{path}: names no sequence; restore the list of the split")
    return names


ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
NUMBER = re.compile(r"(\d+)(?=\D*$)")  # the last number of a name


def image_names(folder: Path) -> list[str]:
    """The names of the images in a folder, in the order of their numbers, padded or not.

    Raises UserError where the folder is missing or has no image, or has a frame twice, as `1.jpg` and
    `1.png`.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        raise UserError(f"{folder}: no such folder of frames; unpack them there") from None
    images = [name for name in names if name.lower().endswith(ENDINGS) and name[0] != "."]
    if not images:
        raise UserError(f"{folder}: holds no images; unpack them there")
    # The same frame in two formats would be read twice, and shift all boxes after it.
    stems = {_stem(name): name for name in images}
    if len(stems) < len(images):
        name = next(name for name in images if stems[_stem(name)] != name)
        raise UserError(f"{folder}: holds {name} and {stems[_stem(name)]}; remove the one that is no frame")
    # By number and not by text: "10.jpg" comes after "9.jpg" where numbers are not padded.
    return sorted(images, key=_order)


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _order(name: str) -> tuple[int, list[int], str]:
    """The sorting key: the last number of a name, then all of its numbers (`t9_left1` before `t10_left1`)."""
    # Names without a number come first; between `1` and `01` the text decides.
    number = NUMBER.search(_stem(name))
    return int(number[1]) if number else -1, [int(digits) for digits in re.findall(r"\d+", name)], name


def frames_of(folder: Path, names: list[str]) -> ImageFrames:
    """The frames in a folder, all of the size of the first. Raises UserError where that is not an image."""
    return ImageFrames(tuple(folder / name for name in names), image_size(folder / names[0]))


def fitted(folder: Path, names: list[str], boxes: np.ndarray) -> tuple[list[str], tuple[str, ...]]:
    """The frames that boxes (F, 4) belong to, and a note where there are more frames than boxes.

    Raises UserError where there are fewer frames than boxes, because it is unknown which frames are missing.
    """
    # Too few frames: any of them may be the missing ones, so no box can be assigned to a frame.
    if len(names) < len(boxes):
        raise UserError(
            f"{folder}: {counted(len(names), 'frame')} for {counted(len(boxes), 'box')}; restore the missing "
            "frames, or leave the sequence out"
        )
    if len(names) == len(boxes):
        return names, ()
    message = f"{counted(len(names), 'frame')} for {counted(len(boxes), 'box')}; the last are left"
    return names[: len(boxes)], (f"{folder}: {message}",)


def class_of(name: str) -> str:
    """The class of a sequence, for example `t-shirt` of `t-shirt-3`: everything before the last hyphen."""
    return name.rpartition("-")[0]


def folder_of(root: Path, name: str) -> Path:
    """The folder of a sequence. Raises UserError where its name would leave `root`."""
    return inside(root, f"{class_of(name) or name}/{name}")


def sequences_of(group: Path) -> list[Path]:
    """The folders of the sequences of a class, by name. Raises UserError where `group` is no folder
    of a class.
    """
    found = [path for path in folders_of(group) if path.name.startswith(f"{group.name}-")]
    if not found:
        raise UserError(
            f"{group}: holds no {group.name}-<number>; unpack the data set as <class>/<class>-<number>, and "
            "keep other folders elsewhere"
        )
    return found
