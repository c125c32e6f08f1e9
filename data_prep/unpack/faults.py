"""What may go wrong while an archive is extracted, as one line that names the member or the part."""

import errno
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import UserError
from data_prep.unpack.formats import DAMAGES
from data_prep.unpack.names import RefusedError, shown
from data_prep.unpack.stream import Joined
from data_prep.unpack.tree import Tree

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def told(joined: Joined, work: Path, name: Callable[[], str], tree: Tree) -> Iterator[None]:
    """Turn refusals, damages and failures to write into UserError. `name()` is the last member's name."""
    try:
        yield
    except RefusedError as fault:
        raise UserError(
            f"{joined.path}: member {shown(fault.name or name())} {fault.reason}; do not use this archive; "
            f"nothing was written outside {work}, which keeps {_files(tree)} from before it"
        ) from None
    except (*DAMAGES, tarfile.TarError, OSError) as fault:
        if not isinstance(fault, OSError) or fault.errno is None:  # what decompressors raise has none
            after = f"after member {shown(name())}" if name() else "before its first member"
            raise UserError(
                f"{joined.path}: no archive, damaged, or a part is missing ({_line(fault)}, {after}); "
                "get this part again, or those before it, and run again; "
                f"{work} keeps {_files(tree)} from before it"
            ) from None
        kept = f"run again, it goes on: {work} keeps {_files(tree)}"
        if fault.errno in FULL:
            raise UserError(f"{work}: the disk is full; free space and {kept}") from None
        place = fault.filename or work
        raise UserError(
            f"{place}: cannot be read or written ({_line(fault)}); mend that and {kept}"
        ) from None


def _files(tree: Tree) -> str:
    return f"{tree.whole} file{'' if tree.whole == 1 else 's'}"


def _line(fault: Exception) -> str:
    """What an exception says, on one line."""
    reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    return " ".join(reason.split()) or type(fault).__name__
