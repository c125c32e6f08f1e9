"""Sequences that lie by class, `<class>/<class>-<number>`: LaSOT's, LaSOText's and VastTrack's."""

from pathlib import Path

from configs.errors import UserError
from data_prep.files import inside
from data_prep.readers.entry import folders_of


def class_of(name: str) -> str:
    """The class of a sequence, `t-shirt` of `t-shirt-3`: all before the last hyphen."""
    return name.rpartition("-")[0]


def folder_of(root: Path, name: str) -> Path:
    """The folder of a sequence. Raises UserError where its name would leave `root`."""
    return inside(root, f"{class_of(name) or name}/{name}")


def sequences_of(group: Path) -> list[Path]:
    """The folders of a class's sequences by name. Raises UserError where `group` is no folder of a class."""
    found = [path for path in folders_of(group) if path.name.startswith(f"{group.name}-")]
    if not found:
        raise UserError(
            f"{group}: holds no {group.name}-<number>; unpack the data set as <class>/<class>-<number>, and "
            "keep other folders elsewhere"
        )
    return found
