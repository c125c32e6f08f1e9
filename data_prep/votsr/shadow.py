"""A shadow of a workspace: what the toolkit needs of it, in a temporary folder.

The toolkit reads a workspace stumblingly (a blank line in list.txt, a byte order mark, a sequence without
truth stop it) and keeps caches of figures by name that go stale. A shadow is clean, holds no cache and is
thrown away, and nothing is ever written among the user's sequences. It holds no frames: a `sequence` file
that gives length, width and height makes the toolkit ask for none.

Nothing that a workspace holds reaches the toolkit as it is: a stack only by the name of one of the toolkit's
own, a tracker only by the keys that describe it.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import UserError
from data_prep.files import read_text
from data_prep.sequence import Sequence
from data_prep.votsr.results import result_path
from data_prep.votsr.textfiles import NOT_ANNOTATED, sequence_folder, write_sequence, write_workspace
from data_prep.votsr.toolkit import check_referral_stack, ensure_tracker, sections
from data_prep.votsr.truth import Truth, scored_size
from data_prep.votsr.workspace import Workspace

# Keys of a tracker's section that the manifest of an archive tells. Others send the toolkit to other results
# (version, storage), take values from the caller's environment (env_*), or end it (metadata, _source).
KEPT = ("label", "protocol", "command", "tags")
OWN_STACK = "./stack.yaml"


@contextmanager
def shadow(
    workspace: Workspace, tracker_id: str, stack: str = OWN_STACK, stack_text: str | None = None
) -> Iterator[Path]:
    """Yield an empty shadow workspace that knows the tracker and the stack; it is removed afterwards.

    `stack` is the name of one of the toolkit's; `stack_text`, instead, is the text of a stack file of ours.
    Raises UserError where the tracker's or the stack's name is not valid or the disk refuses.
    """
    if stack_text is None:
        check_referral_stack(workspace.root / "config.yaml", stack)
    try:
        with tempfile.TemporaryDirectory(prefix="refertrack-") as name:
            root = Path(name)
            _write_tracker(workspace.root / "trackers.ini", root / "trackers.ini", tracker_id)
            write_workspace(root, (), stack)
            if stack_text is not None:
                (root / OWN_STACK).write_text(stack_text, "utf-8")
            yield root
    except OSError as fault:
        told = f"{fault.filename or tempfile.gettempdir()}: {fault.strerror}"
        raise UserError(f"{told}; free space there or set TMPDIR to another folder") from None


def _write_tracker(source: Path, target: Path, tracker_id: str) -> None:
    """The tracker's own section of the user's trackers.ini, completed; other sections cannot then disturb."""
    if source.exists():
        text = read_text(source, "restore it")
        held = sections(source, text).get(tracker_id, {})
        kept = {key: value for key, value in held.items() if key in KEPT}
        lines = "".join(f"{key} = {value.replace(chr(10), chr(10) + '  ')}\n" for key, value in kept.items())
        target.write_text(f"[{tracker_id}]\n{lines}", "utf-8")
    ensure_tracker(target, tracker_id)


def add_sequences(root: Path, sequences: Iterable[Sequence], every_prompt: bool) -> None:
    """Write list.txt and the folders of `sequences`, with a truth that says nothing.

    A prompt that stands twice is written once, unless `every_prompt`.
    """
    names = []
    for sequence in sequences:
        names.append(sequence.name)
        prompts = sequence.expressions if every_prompt else tuple(dict.fromkeys(sequence.expressions))
        width, height = scored_size(sequence)
        length = len(sequence.frames)
        sizes = {"width": str(width), "height": str(height), "length": str(length)}
        folder = sequence_folder(root, sequence.name)
        write_sequence(folder, prompts, sequence.fps, **sizes)
        (folder / "groundtruth.txt").write_text(f"{NOT_ANNOTATED}\n" * length)
    (root / "sequences" / "list.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")


def add_truth(root: Path, name: str, truth: Truth) -> None:
    """Write a sequence's truth over the one that says nothing.

    Rectangles and polygons that are scored are written as the masks that they fill. The plain name is found
    in any folder; the names that an ignore mask asks for are found by a glob, which brackets in the
    sequence's name lead astray.
    """
    folder = sequence_folder(root, name)
    target, ignore = ("".join(f"{line}\n" for line in lines) for lines in truth.mask_lines())
    (folder / "groundtruth.txt").write_text(target, "ascii")
    if truth.files.ignore is not None:
        (folder / "groundtruth_object1.txt").write_text(target, "ascii")
        (folder / "groundtruth__ignore.txt").write_text(ignore, "ascii")


def link_results(workspace: Workspace, root: Path, tracker_id: str, sequences: Iterable[Sequence]) -> None:
    """Let the shadow's result files be the user's, by links (copies where the system has none)."""
    for sequence in sequences:
        for prompt in dict.fromkeys(sequence.expressions):
            source = result_path(workspace.root, tracker_id, sequence.name, prompt)
            target = result_path(root, tracker_id, sequence.name, prompt)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.symlink_to(source.absolute())
            except OSError:
                shutil.copyfile(source, target)
