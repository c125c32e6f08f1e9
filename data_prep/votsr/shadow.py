"""A shadow of a workspace: a temporary folder with what the toolkit needs of it.

The toolkit fails at small irregularities of a workspace (a blank line in list.txt, a byte order mark, a
sequence without truth), and its caches of figures are stored by name and become outdated. A shadow is
regular, has no cache and is deleted afterwards, so nothing is ever written among the user's sequences. It
has no frames: a `sequence` file with length, width and height makes the toolkit read none.

Nothing of a workspace reaches the toolkit unchecked: a stack only as the name of one of the toolkit's own,
and a tracker only by the keys that describe it.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from configs.errors import UserError
from data_prep.files import read_text
from data_prep.sequence import Sequence
from data_prep.votsr.results import result_path
from data_prep.votsr.textfiles import NOT_ANNOTATED, sequence_folder, write_sequence, write_workspace
from data_prep.votsr.toolkit import check_referral_stack, ensure_tracker, sections
from data_prep.votsr.truth import Truth, scored_size
from data_prep.votsr.workspace import Workspace

# Keys of a tracker's section that appear in the manifest of an archive. Other keys make the toolkit use other
# results (version, storage), read the caller's environment (env_*), or fail (metadata, _source).
KEPT = ("label", "protocol", "command", "tags")
OWN_STACK = "./stack.yaml"
PREFIX = "refertrack-"  # of temporary folders
ABANDONED_AFTER = 3600.0  # seconds
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def shadow(
    workspace: Workspace, tracker_id: str, stack: str = OWN_STACK, stack_text: str | None = None
) -> Iterator[Path]:
    """Yield a shadow workspace with the tracker and the stack but without sequences; it is removed
    afterwards.

    `stack` is the name of one of the toolkit's stacks. `stack_text` replaces it by the text of a stack file
    of this project. Raises UserError where the name of tracker or stack is not valid, or files cannot be
    written.
    """
    # The name of the user's stack is checked; the text of our own needs no check.
    if stack_text is None:
        check_referral_stack(workspace.root / "config.yaml", stack)
    try:
        with _locked_folder() as root:
            _write_tracker(workspace.root / "trackers.ini", root / "trackers.ini", tracker_id)
            write_workspace(root, (), stack)
            if stack_text is not None:
                (root / OWN_STACK).write_text(stack_text, "utf-8")
            yield root
    except OSError as fault:
        message = f"{fault.filename or tempfile.gettempdir()}: {fault.strerror}"
        raise UserError(f"{message}; free space there or set TMPDIR to another folder") from None


@contextmanager
def _locked_folder() -> Iterator[Path]:
    """Yield an empty temporary folder, which is locked while this process lives, and remove it afterwards."""
    _remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        handle = os.open(name, FOLDER_FLAGS)
        try:
            # The system releases the lock when the process ends, even if it is killed.
            with suppress(OSError):  # a file system without locks: nobody removes the folder there
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(handle)


def _remove_abandoned(folder: Path) -> None:
    """Remove the shadows of killed processes: this user's, which no process holds, and an hour old.

    A shadow is locked before its first file is written, so an empty folder may be one that is being made. The
    age protects shadows of versions of this program that set no lock.
    """
    for left in folder.glob(f"{PREFIX}*"):
        with suppress(OSError):
            handle = os.open(left, FOLDER_FLAGS)
            try:
                about = os.fstat(handle)
                is_old = time.time() - about.st_mtime > ABANDONED_AFTER
                if is_old and about.st_uid == os.getuid() and (left / "trackers.ini").is_file():
                    # Without waiting: BlockingIOError, an OSError, where a process holds the folder.
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(handle)


def _write_tracker(source: Path, target: Path, tracker_id: str) -> None:
    """Write the tracker's own section of the user's trackers.ini, completed. Faults in other
    sections do not matter.
    """
    if source.exists():
        text = read_text(source, "restore it")
        held = sections(source, text).get(tracker_id, {})
        # Values of several lines must be indented again.
        kept = {key: value for key, value in held.items() if key in KEPT}
        lines = "".join(f"{key} = {value.replace(chr(10), chr(10) + '  ')}\n" for key, value in kept.items())
        target.write_text(f"[{tracker_id}]\n{lines}", "utf-8")
    ensure_tracker(target, tracker_id)


def add_sequences(root: Path, sequences: Iterable[Sequence], every_prompt: bool) -> None:
    """Write list.txt and the folders of `sequences`, with a truth in which no frame is annotated.

    A repeated prompt is written once, unless `every_prompt`.
    """
    names = []
    for sequence in sequences:
        names.append(sequence.name)
        prompts = sequence.expressions if every_prompt else tuple(dict.fromkeys(sequence.expressions))
        # Size and length in the `sequence` file keep the toolkit from looking for frames.
        width, height = scored_size(sequence)
        length = len(sequence.frames)
        sizes = {"width": str(width), "height": str(height), "length": str(length)}
        folder = sequence_folder(root, sequence.name)
        write_sequence(folder, prompts, sequence.fps, **sizes)
        (folder / "groundtruth.txt").write_text(f"{NOT_ANNOTATED}\n" * length)
    (root / "sequences" / "list.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")


def add_truth(root: Path, name: str, truth: Truth) -> None:
    """Replace the truth of a sequence by its real one.

    Rectangles and polygons that are scored are written as filled masks. The truth is written under two
    names: the toolkit needs the second one together with an ignore mask, but finds it with a glob, which
    fails for brackets in the name of a sequence.
    """
    folder = sequence_folder(root, name)
    target, ignore = ("".join(f"{line}\n" for line in lines) for lines in truth.mask_lines())
    (folder / "groundtruth.txt").write_text(target, "ascii")
    if truth.files.ignore is not None:
        (folder / "groundtruth_object1.txt").write_text(target, "ascii")
        (folder / "groundtruth__ignore.txt").write_text(ignore, "ascii")


def link_results(workspace: Workspace, root: Path, tracker_id: str, sequences: Iterable[Sequence]) -> None:
    """Put the user's result files into the shadow, as links (copies where the system has no links)."""
    for sequence in sequences:
        for prompt in dict.fromkeys(sequence.expressions):
            source = result_path(workspace.root, tracker_id, sequence.name, prompt)
            target = result_path(root, tracker_id, sequence.name, prompt)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.symlink_to(source.absolute())
            except OSError:
                shutil.copyfile(source, target)
