"""`tracks.json`: which result file belongs to which expression, with boxes, states and confidences.

While a run tracks, a record of each track is written to `out/tracks/`. At the end the records are joined into
`tracks.json`, one at a time, so that memory does not grow with their number. A record counts only while
the result file has the masks that it was written for; for other results it is made anew from the masks,
without states and confidences.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Sequences
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.files import inside, read_text, real_path, whole_file, write_whole, writing
from data_prep.geometry import Box, box_of_mask
from data_prep.identity import frames_identity
from data_prep.sequence import Sequence
from data_prep.votsr.results import prompt_hash, read_lines, read_result
from infer.engine.engine import TrackLines
from infer.runs.plan import ResultFiles, TrackStore

FOLDER, FILE = "tracks", "tracks.json"
INPUTS_FOLDER = ".inputs"
BOX_DIGITS, CONFIDENCE_DIGITS = 2, 4
Record = dict[str, Any]


class TrackRecords:
    """The records of a run under `out`."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def write(self, sequence: Sequence, expression: str, files: ResultFiles, track: TrackLines) -> None:
        """Write the record of a track, before its result. Raises UserError where the disk refuses."""
        boxes = [_rounded(box) for box in track.boxes_xyxy]
        shown = [box is not None for box in boxes]
        confidences = [
            round(value, CONFIDENCE_DIGITS) if is_shown else None
            for value, is_shown in zip(track.confidences, shown, strict=True)
        ]
        self._write(
            sequence,
            expression,
            files,
            track.masks,
            boxes,
            [str(state) for state in track.states],
            confidences,
        )

    def restore(self, sequence: Sequence, expression: str, files: ResultFiles) -> None:
        """Make sure that a result kept from before has a record. Raises UserError where it cannot be read."""
        if self._read(self._path(sequence.name, expression)) is not None:
            return
        masks = read_result(files.masks, sequence.frames.size, len(sequence.frames))
        boxes = [_rounded(None if mask is None else box_of_mask(mask)) for mask in masks]
        self._write(sequence, expression, files, read_lines(files.masks), boxes, None, None)

    def join(self, tracks: Iterable[tuple[str, str]]) -> Path:
        """Write `tracks.json`: the given tracks (sequence, expression) in order, then others that lie there.

        Raises UserError where the disk refuses.
        """
        first = [self._path(*track) for track in tracks]
        others = sorted(set((self.out / FOLDER).rglob("*.json")) - set(first))
        path = self.out / FILE
        with writing(path), whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
            stream.write('{"tracks": [')
            for number, line in enumerate(self._lines([*first, *others])):
                stream.write(("," if number else "") + "\n" + line)
            stream.write("\n]}\n")
        return path

    def _lines(self, paths: Iterable[Path]) -> Iterator[str]:
        for path in paths:
            if (record := self._read(path)) is not None:
                del record["masks_sha256"]
                overlay = self.out / "overlays" / f"{path.relative_to(self.out / FOLDER).with_suffix('.mp4')}"
                record["overlay"] = self._name(overlay) if overlay.is_file() else None
                yield json.dumps(record, ensure_ascii=False)

    def _write(
        self,
        sequence: Sequence,
        expression: str,
        files: ResultFiles,
        lines: Sequences[str],
        boxes: list[list[float] | None],
        states: list[str] | None,
        confidences: list[float | None] | None,
    ) -> None:
        record: Record = {
            "sequence": sequence.name,
            "expression": expression,
            "file": self._name(files.main),
            "masks": self._name(files.masks),
            "frames": len(lines),
            "boxes_xyxy": boxes,
            "states": states,
            "confidences": confidences,
            "masks_sha256": _digest(lines),
        }
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        write_whole(self._path(sequence.name, expression), text, durable=False)

    def _read(self, path: Path) -> Record | None:
        """A record; None where there is none, or where the masks that it was written for are gone."""
        try:
            record: Record = json.loads(read_text(path, ""))
            lines = read_lines(self.out / record["masks"], record["frames"])
        except (ValueError, KeyError, TypeError, RecursionError, UserError):
            return None
        return record if record.get("masks_sha256") == _digest(lines) else None

    def _path(self, sequence_name: str, expression: str) -> Path:
        return inside(self.out / FOLDER, f"{sequence_name}_{prompt_hash(expression)}.json")

    def _name(self, path: Path) -> str:
        """A path as it stands in a record: from `out` where it lies in there, else absolute."""
        path, out = real_path(path), real_path(self.out)
        return path.relative_to(out).as_posix() if path.is_relative_to(out) else str(path)


def _rounded(box_xyxy: Box | None) -> list[float] | None:
    return None if box_xyxy is None else [round(float(side), BOX_DIGITS) for side in box_xyxy]


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


class TrackInputs:
    """The files of a folder of results; the sequences are those of `store`."""

    def __init__(self, results: Path, store: TrackStore) -> None:
        self._folder, self._store = results / INPUTS_FOLDER, store

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
