"""The md5 that a data set publishes, and what to say where it is not that of the data."""

import re
from pathlib import Path

from configs.errors import UserError
from data_prep.files import read_text
from data_prep.unpack.state import State

MD5 = re.compile(r"\b[0-9a-fA-F]{32}\b")
NAMES = {"md5": "the joined parts", "tar_md5": "the decompressed archive"}


def read_md5(key: str, value: str) -> str:
    """The 32 digits that a key gives, or that stand in the file it names, as `md5sum` writes it.

    Empty for an empty value. Raises UserError where they are not found.
    """
    if not value or MD5.fullmatch(value):
        return value.lower()
    if not Path(value).is_file():
        raise UserError(f"{key}={value}: neither 32 digits and letters a to f nor a file that holds them")
    found = set(MD5.findall(read_text(Path(value), "check the name")))
    if len(found) != 1:
        raise UserError(f"{value}: holds {len(found)} md5 sums where one is wanted; give it as {key}=")
    return found.pop().lower()


def check_md5(state: State, wanted: dict[str, str], where: Path) -> None:
    """Compare what was published (`md5`, `tar_md5`; empty: nothing) with what was computed.

    Raises UserError where they differ; `where` is what the data lie in.
    """
    found = {"md5": state.md5, "tar_md5": state.tar_md5}
    for key, value in wanted.items():
        other = "tar_md5" if key == "md5" else "md5"
        if value and value != found[key]:
            mend = "get the parts again and run again, only what differs is written"
            if value == found[other]:
                mend = f"it is that of {NAMES[other]}: give it as {other}="
            raise UserError(
                f"{where}: the md5 of {NAMES[key]} is {found[key]}, not {value}; "
                f"do not use what lies there; {mend}"
            )
