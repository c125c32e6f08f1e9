"""Result files: one for each prompt of a sequence, with one line for each frame. Writing, reading
and checking them.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Lines
from pathlib import Path
from typing import TextIO

import numpy as np

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import inside, open_regular, write_whole
from data_prep.geometry import Size
from data_prep.sequence import Sequence
from data_prep.votsr.regions import ABSENT, decode_mask, decode_window, read_runs

LONGEST_LINE = 16 << 20  # characters: the runs of the worst mask of eight megapixels
MOST_LINES = 10**7  # frames: four days of video
EXPERIMENT = "baseline"  # the one experiment of the stack vots2026/referral


def prompt_hash(prompt: str) -> str:
    """The eight characters that stand for a prompt in the name of its result file, as in the toolkit."""
    return hashlib.md5(prompt.encode(), usedforsecurity=False).hexdigest()[:8]


def result_path(root: Path, tracker_id: str, sequence_name: str, prompt: str) -> Path:
    """The file of a tracker's result for one prompt of one sequence, in the workspace `root`."""
    # Names come from files of the workspace, so each part must stay inside of its folder.
    name = f"{sequence_name}_{prompt_hash(prompt)}.txt"
    return inside(inside(root / "results", tracker_id) / EXPERIMENT, sequence_name) / name


def write_result(path: Path, lines: Lines[str], num_frames: int) -> None:
    """Write one line for each frame (from `encode_mask`), completely or not at all.

    There must be as many lines as frames. Raises UserError where the file cannot be written.
    """
    assert len(lines) == num_frames, f"{path}: {len(lines)} lines for {num_frames} frames"
    write_whole(path, "".join(f"{line}\n" for line in lines))


def lines_digest(lines: Iterable[str]) -> str:
    """A hash of the lines of a result, which shows whether two results are the same."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def read_lines(path: Path, num_frames: int | None = None) -> list[str]:
    """The lines of a result file.

    Raises UserError where it is missing or does not have `num_frames` lines (None: any number).
    """
    try:
        # Lines contain only ASCII; anything else is damage.
        with io.TextIOWrapper(open_regular(path), "ascii") as text:
            lines = list(_lines(text, path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such result; track this prompt first") from None
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else fault
        raise UserError(f"{path}: result cannot be read ({reason}); track this prompt again") from None
    if num_frames is not None and len(lines) != num_frames:
        raise UserError(
            f"{path}: {counted(len(lines), 'line')} for {counted(num_frames, 'frame')}; "
            "track this prompt again"
        )
    return lines


def _lines(text: TextIO, path: Path) -> Iterator[str]:
    """The stripped lines of a file. A line of a gigabyte is refused before it is read completely."""
    number = 0
    while line := text.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE or number > MOST_LINES:
            message = f"longer than {LONGEST_LINE >> 20} MiB" if number <= MOST_LINES else "one too many"
            raise UserError(f"{path}:{number}: the line is {message}; track this prompt again")
        # Blanks after the last line end do not count as the line of a frame.
        if line.endswith("\n") or not line.isspace():
            yield line.strip()


def read_written(path: Path, num_frames: int) -> list[str]:
    """The lines of a result that `write_result` wrote.

    Raises UserError as `read_lines` does, and for a line that `encode_mask` does not write. The runs that it
    writes always fill the window, so a truncated line is found.
    """
    lines = read_lines(path, num_frames)
    for number, line in enumerate(lines, 1):
        if line == ABSENT:
            continue
        try:
            runs = read_runs(line)
        except ValueError as fault:
            raise UserError(f"{path}:{number}: {fault}; track this prompt again") from None
        # A line that was cut off at a comma is still a valid mask for the toolkit, but its runs end early.
        if runs is None or runs.lengths.sum() != runs.width * runs.height:
            raise UserError(f"{path}:{number}: an incomplete mask; track this prompt again")
    return lines


def read_result(path: Path, size: Size, num_frames: int | None = None) -> list[np.ndarray | None]:
    """A prompt's masks (height, width; bool), as the toolkit reads them; None where the target is absent.

    Raises UserError where the file is missing, does not have one line for each frame, or a line cannot be
    parsed.
    """
    masks: list[np.ndarray | None] = []
    for number, line in enumerate(read_lines(path, num_frames), 1):
        try:
            mask = decode_mask(line, size)
        except ValueError as fault:
            raise UserError(f"{path}:{number}: {fault}; track this prompt again") from None
        masks.append(mask if mask is not None and mask.any() else None)
    return masks


NAMED = 5  # most missing files that a message names


def result_files(root: Path, tracker_id: str, sequences: Iterable[Sequence]) -> dict[Path, Sequence]:
    """The result files that these sequences must have, each with its sequence, in order."""
    return {
        result_path(root, tracker_id, sequence.name, prompt): sequence
        for sequence in sequences
        for prompt in sequence.expressions
    }


def check_present(root: Path, tracker_id: str, sequences: Iterable[Sequence]) -> None:
    """Raise UserError, naming them, where result files of these sequences are missing."""
    files = result_files(root, tracker_id, sequences)
    # All are counted, and the first of them named.
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        named = ", ".join(missing[:NAMED]) + (f" and {len(missing) - NAMED} more" if missing[NAMED:] else "")
        raise UserError(f"{len(missing)} of {len(files)} results missing: {named}; track these prompts first")


def check_results(root: Path, tracker_id: str, sequences: Iterable[Sequence]) -> None:
    """Raise UserError where results are missing, lack lines, or have a line that cannot be parsed."""
    sequences = list(sequences)
    check_present(root, tracker_id, sequences)
    # Every line is decoded, which is the only way to find a damaged one before the toolkit does.
    for path, sequence in result_files(root, tracker_id, sequences).items():
        for number, line in enumerate(read_lines(path, len(sequence.frames)), 1):
            try:
                decode_window(line, sequence.frames.size)
            except ValueError as fault:
                raise UserError(f"{path}:{number}: {fault}; track this prompt again") from None
