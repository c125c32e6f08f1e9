"""What the results of each sequence were made from: its pictures, and what else of it a track is given.

It lies in a small file per sequence beside the results. A file that says something else than the sequence
does today means that the results are of other pictures or texts: they are made again. Without a file results
are kept, since `fingerprint.json` is there to refuse results of which nothing is known.
"""

import hashlib
from pathlib import Path

from data_prep.files import inside, write_whole, writing
from data_prep.identity import frames_identity
from data_prep.sequence import Sequence
from infer.track_store import TrackStore

FOLDER = ".inputs"


class TrackInputs:
    """The files of a folder of results; the sequences are those of `store`."""

    def __init__(self, results: Path, store: TrackStore) -> None:
        self._folder, self._store = results / FOLDER, store

    def have_changed(self, sequence: Sequence) -> bool:
        """Whether the results of a sequence were made from something else than it holds today."""
        path = self._path(sequence)
        if not path.is_file():
            return False
        try:
            return path.read_text("ascii").strip() != self._identity(sequence)
        except (OSError, ValueError):  # damaged: nothing says that they are the same
            return True

    def note(self, sequence: Sequence) -> None:
        """Write down what the results of a sequence are made from, before they are. Raises UserError."""
        write_whole(self._path(sequence), self._identity(sequence) + "\n", durable=False)

    def forget_results(self, sequence: Sequence) -> bool:
        """Remove the results of a sequence; whether there were any. Raises UserError where that fails."""
        files = [self._store.files(sequence, prompt) for prompt in self._store.prompts(sequence)]
        paths = [path for each in files for path in (each.main, each.masks) if path.exists()]
        for path in paths:
            with writing(path):
                path.unlink(missing_ok=True)
        return bool(paths)

    def _path(self, sequence: Sequence) -> Path:
        return inside(self._folder, f"{sequence.name}.id")  # no .txt, as results are

    def _identity(self, sequence: Sequence) -> str:
        given = hashlib.sha256(repr(self._store.given(sequence)).encode("utf-8", "surrogateescape"))
        return f"{frames_identity(sequence.frames)} {given.hexdigest()[:16]}"
