"""What is written about each track beside its result: its record, and the identity of its inputs.

**Records.** `tracks.json` says which result file belongs to which expression, with boxes, states and
confidences. During a run the record of each track is written to `out/tracks/`. At the end the records are
joined, one at a time, so that memory does not grow with their number. A record is valid only as long as the
result file holds the masks that it was written for, which a hash of the masks shows. For other masks a new
record is made, without states and confidences.

**Traces.** `traces/` in `out` holds one file per track, in which every line explains a frame
(`data_prep.trace`). A trace belongs to the record beside it and is removed with it.

**Inputs.** `.inputs/` in the results folder holds one small file per sequence: a hash of its frames, and one
of whatever else its tracks depend on. If it differs from that of the sequence as it is now, the sequence is
tracked again. Results without such a file are kept, because `fingerprint.json` refuses results of unknown
origin.
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
from data_prep.votsr.results import lines_digest, prompt_hash, read_lines, read_result
from infer.engine.engine import Trajectory
from infer.runs.plan import ResultFiles, TrackStore

FOLDER, FILE, TRACES = "tracks", "tracks.json", "traces"
INPUTS_FOLDER = ".inputs"
# Decimals of boxes (hundredths of a pixel) and of confidences in records.
BOX_DIGITS, CONFIDENCE_DIGITS = 2, 4
Record = dict[str, Any]


class TrackRecords:
    """The records of a run under `out`, and with `with_traces` also the traces of its tracks."""

    def __init__(self, out: Path, with_traces: bool = False) -> None:
        self.out, self.with_traces = out, with_traces

    def write(
        self,
        sequence: Sequence,
        expression: str,
        files: ResultFiles,
        trajectory: Trajectory,
        trace: Sequences[str] = (),
    ) -> None:
        """Write the record of a track and the lines of its trace, before its result.

        Raises UserError if they cannot be written.
        """
        # 1. The trace. One of an earlier run of the track explains other results.
        path = self.trace_path(sequence.name, expression)
        if self.with_traces:
            write_whole(path, "".join(f"{line}\n" for line in trace), durable=False)
        else:
            self._remove_trace(path)
        # 2. The record.
        # Confidences of absent frames are of no use to a reader, and null shows absence at a glance.
        boxes = [_rounded(box) for box in trajectory.boxes_xyxy]
        confidences = [
            None if box is None else round(confidence, CONFIDENCE_DIGITS)
            for box, confidence in zip(boxes, trajectory.confidences, strict=True)
        ]
        states = [str(state) for state in trajectory.states]
        self._write(sequence, expression, files, trajectory.masks, boxes, states, confidences)

    def restore(self, sequence: Sequence, expression: str, files: ResultFiles) -> None:
        """Write the record of a result of an earlier run, unless there is a valid one.

        Raises UserError if the result cannot be read.
        """
        if self._read(self._path(sequence.name, expression)) is not None:
            return
        # States, confidences and reasons are not in the result file, so they are lost.
        self._remove_trace(self.trace_path(sequence.name, expression))
        masks = read_result(files.masks, sequence.frames.size, len(sequence.frames))
        boxes = [_rounded(None if mask is None else box_of_mask(mask)) for mask in masks]
        self._write(sequence, expression, files, read_lines(files.masks), boxes, None, None)

    def trace_path(self, sequence_name: str, expression: str) -> Path:
        """The file of a track's trace, whether it exists or not."""
        return self._path(sequence_name, expression, TRACES, ".jsonl")

    def join(self, tracks: Iterable[tuple[str, str]]) -> Path:
        """Write `tracks.json`: the given tracks (sequence, expression) in order, then other valid records.

        Raises UserError if it cannot be written.
        """
        paths = [self._path(*track) for track in tracks]
        # Tracks of an earlier run in this folder that this one did not plan, of another prompt= for example.
        others = sorted(set((self.out / FOLDER).rglob("*.json")) - set(paths))
        path = self.out / FILE
        with writing(path), whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
            # The JSON is put together by hand, so that one record at a time is in memory.
            stream.write('{"tracks": [')
            for number, line in enumerate(self._lines([*paths, *others])):
                stream.write(("," if number else "") + "\n" + line)
            stream.write("\n]}\n")
        return path

    def _lines(self, paths: Iterable[Path]) -> Iterator[str]:
        """The valid records as JSON, with the paths of overlay and trace where there are any."""
        for path in paths:
            if (record := self._read(path)) is not None:
                del record["masks_sha256"]
                for key, folder, suffix in (("overlay", "overlays", ".mp4"), ("trace", TRACES, ".jsonl")):
                    other = self.out / folder / path.relative_to(self.out / FOLDER).with_suffix(suffix)
                    record[key] = self._name(other) if other.is_file() else None
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
            "masks_sha256": lines_digest(lines),
        }
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        write_whole(self._path(sequence.name, expression), text, durable=False)

    def _read(self, path: Path) -> Record | None:
        """A valid record; None if there is none, or if the result holds other masks by now."""
        try:
            record: Record = json.loads(read_text(path, ""))
            lines = read_lines(self.out / record["masks"], record["frames"])
        except (ValueError, KeyError, TypeError, RecursionError, UserError):
            return None
        return record if record.get("masks_sha256") == lines_digest(lines) else None

    def _remove_trace(self, path: Path) -> None:
        with writing(path):
            path.unlink(missing_ok=True)

    def _path(self, sequence_name: str, expression: str, folder: str = FOLDER, suffix: str = ".json") -> Path:
        return inside(self.out / folder, f"{sequence_name}_{prompt_hash(expression)}{suffix}")

    def _name(self, path: Path) -> str:
        """A path as a record holds it: relative to `out` if it lies inside, else absolute."""
        path, out = real_path(path), real_path(self.out)
        return path.relative_to(out).as_posix() if path.is_relative_to(out) else str(path)


class TrackInputs:
    """The files in `.inputs/` of a results folder, for the sequences of `store`."""

    def __init__(self, results: Path, store: TrackStore) -> None:
        self._folder, self._store = results / INPUTS_FOLDER, store

    def have_changed(self, sequence: Sequence) -> bool:
        """Whether the existing results of a sequence were made from other inputs than it has now."""
        path = self._path(sequence)
        if not path.is_file():
            return False
        # A damaged file does not show that the inputs are the same, so the sequence is tracked again.
        try:
            return path.read_text("ascii").strip() != self._identity(sequence)
        except (OSError, ValueError):
            return True

    def write(self, sequence: Sequence) -> None:
        """Record the inputs of a sequence, before its results are made. Raises UserError if that fails."""
        write_whole(self._path(sequence), self._identity(sequence) + "\n", durable=False)

    def remove_results(self, sequence: Sequence) -> bool:
        """Remove the results of a sequence. Returns whether there were any. Raises UserError on failure."""
        expressions = self._store.expressions(sequence)
        files = [self._store.files(sequence, expression) for expression in expressions]
        paths = [path for each in files for path in (each.main, each.masks) if path.exists()]
        for path in paths:
            with writing(path):
                path.unlink(missing_ok=True)  # `main` and `masks` may be the same file
        return bool(paths)

    def _path(self, sequence: Sequence) -> Path:
        # Not .txt: every .txt file in a results folder counts as a result.
        return inside(self._folder, f"{sequence.name}.id")

    def _identity(self, sequence: Sequence) -> str:
        inputs = hashlib.sha256(repr(self._store.inputs(sequence)).encode("utf-8", "surrogateescape"))
        return f"{frames_identity(sequence.frames)} {inputs.hexdigest()[:16]}"


def _rounded(box_xyxy: Box | None) -> list[float] | None:
    return None if box_xyxy is None else [round(float(side), BOX_DIGITS) for side in box_xyxy]
