"""Whether a tracker's results are all there, with a line a frame."""

from collections.abc import Iterable
from pathlib import Path

from configs.errors import UserError
from data_prep.sequence import Sequence
from data_prep.votsr.regions import decode_window
from data_prep.votsr.results import read_lines, result_path

NAMED = 5  # of many missing files so many are named


def result_files(root: Path, tracker_id: str, sequences: Iterable[Sequence]) -> dict[Path, Sequence]:
    """The result files that these sequences want, each with its sequence, in order."""
    return {
        result_path(root, tracker_id, sequence.name, prompt): sequence
        for sequence in sequences
        for prompt in sequence.expressions
    }


def check_present(root: Path, tracker_id: str, sequences: Iterable[Sequence]) -> None:
    """Raise UserError, naming them, where result files of these sequences are missing."""
    files = result_files(root, tracker_id, sequences)
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        named = ", ".join(missing[:NAMED]) + (f" and {len(missing) - NAMED} more" if missing[NAMED:] else "")
        raise UserError(f"{len(missing)} of {len(files)} results missing: {named}; track these prompts first")


def check_results(root: Path, tracker_id: str, sequences: Iterable[Sequence]) -> None:
    """Raise UserError where results are missing, have not a line a frame, or hold a line that is none."""
    sequences = list(sequences)
    check_present(root, tracker_id, sequences)
    for path, sequence in result_files(root, tracker_id, sequences).items():
        for number, line in enumerate(read_lines(path, len(sequence.frames)), 1):
            try:
                decode_window(line, sequence.frames.size)
            except ValueError as fault:
                raise UserError(f"{path}:{number}: {fault}; track this prompt again") from None
