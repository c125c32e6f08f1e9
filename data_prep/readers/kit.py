"""What an evaluation kit's folder `annos` says of sequences, where it lies in the root of its data set."""

from pathlib import Path

from configs.errors import UserError
from data_prep.readers.annotations import read_flags

FOLDER = "annos"


def attributes(path: Path, codes: str) -> dict[str, str]:
    """The attributes of a sequence for its metadata, as the field's short codes; none without the file.

    `path` holds a flag for each of the `codes`, which stand in its order with blanks between them. Raises
    UserError where their counts differ.
    """
    if not path.exists():
        return {}
    flags, names = read_flags(path), codes.split()
    if len(flags) != len(names):
        raise UserError(
            f"{path}: {len(flags)} flags for {len(names)} attributes; restore it from the evaluation kit"
        )
    return {"attributes": " ".join(name for name, flag in zip(names, flags, strict=True) if flag)}
