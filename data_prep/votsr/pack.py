"""Packing a tracker's results with the toolkit, and checking the archive that it makes.

`vot pack` (0.9.0) does not count lines, requires a truth file that test data do not have, and exits with 0
but without an archive when results are missing. Therefore results are checked before, and the archive
afterwards.
"""

import re
import zipfile
from contextlib import suppress
from pathlib import Path

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import copy_whole
from data_prep.votsr.results import EXPERIMENT, check_results, result_files
from data_prep.votsr.shadow import add_sequences, link_results, shadow
from data_prep.votsr.toolkit import check_tracker_id, last_words, run_toolkit
from data_prep.votsr.workspace import Workspace, read_workspace

MANIFEST = "manifest.yml"
TIMESTAMP = r"\d{4}-\d\d-\d\dT[\d.+-]+"  # in the name of an archive
NAMED = 5  # most unexpected files that a message names


def pack(workspace_root: Path, tracker_id: str) -> Path:
    """Pack the results of a tracker for submission; returns the archive in the workspace, named by the
    toolkit.

    The toolkit works on a shadow of the workspace. Its archive is copied only if it holds exactly one file
    for each sequence and prompt, equal to the file on the disk. An earlier archive with just this content is
    returned instead of a new one.

    Raises UserError where a sequence or prompt cannot be read, a result is missing or damaged, the stack in
    config.yaml is not one of the toolkit's for such results, or the toolkit fails.
    """
    # 1. The results must be complete. Nothing is packed again if they are in an archive already.
    check_tracker_id(tracker_id)
    workspace = read_workspace(workspace_root, check_frames=False)
    if workspace.problems:
        more = len(workspace.problems) - 1
        also = f" (and {counted(more, 'more problem')})" if more else ""
        raise UserError(f"not packed: {workspace.problems[0].reason}{also}")
    check_results(workspace.root, tracker_id, workspace.sequences)
    files = _files(workspace, tracker_id)
    if earlier := _earlier_archive(workspace.root, tracker_id, files):
        return earlier
    # 2. Let the toolkit pack a shadow of the workspace, and compare the archive with the results.
    with shadow(workspace, tracker_id, workspace.stack) as root:
        add_sequences(root, workspace.sequences, every_prompt=False)
        link_results(workspace, root, tracker_id, workspace.sequences)
        said = run_toolkit(root, "pack", "--workspace", str(root), tracker_id)
        archives = list(root.glob("*.zip"))
        if len(archives) != 1:
            raise UserError(f"vot pack made no archive: {last_words(said)}; try `vot pack` by hand")
        _verify(archives[0], files)
        copy_whole(archives[0], workspace.root / archives[0].name)
    return workspace.root / archives[0].name


def _files(workspace: Workspace, tracker_id: str) -> dict[str, Path]:
    """The result files that the archive must contain: their names in it, and their paths."""
    paths = result_files(workspace.root, tracker_id, workspace.sequences)
    return {f"{EXPERIMENT}/{path.parent.name}/{path.name}": path for path in paths}


def _earlier_archive(root: Path, tracker_id: str, files: dict[str, Path]) -> Path | None:
    """The newest archive that holds exactly the present results; None where there is none.

    Its manifest tells of the tracker and the stack, so the files that describe them must be older too.
    """
    sources = [*files.values(), root / "trackers.ini", root / "config.yaml"]
    changed = max(path.stat().st_mtime_ns for path in sources if path.is_file())
    name = re.compile(rf"{re.escape(tracker_id)}_{TIMESTAMP}\.zip")  # `Mine_b_2026-…` is not of `Mine`
    archives = [path for path in root.glob("*.zip") if name.fullmatch(path.name)]
    for archive in sorted(archives, reverse=True):  # names end in the time
        with suppress(UserError, OSError, zipfile.BadZipFile):
            if archive.stat().st_mtime_ns > changed:
                _verify(archive, files)
                return archive
    return None


def _verify(archive: Path, files: dict[str, Path]) -> None:
    """Raise UserError where the archive is not exactly these files, byte for byte, and a manifest."""
    # First the list of files, then the bytes of each.
    with zipfile.ZipFile(archive) as packed:
        # Sorted lists and not sets: an archive may hold a name twice.
        names = sorted(packed.namelist())
        wanted = sorted([MANIFEST, *files])
        if names != wanted:
            odd = sorted(set(names) ^ set(wanted)) or ["a file twice"]
            raise UserError(
                f"vot pack made an archive of other files than expected ({', '.join(odd[:NAMED])}); "
                "pack again"
            )
        for name, path in files.items():
            same_size = packed.getinfo(name).file_size == path.stat().st_size  # read only if it is
            if not same_size or packed.read(name) != path.read_bytes():
                raise UserError(f"{path}: changed while it was packed; pack again when no run writes to it")
