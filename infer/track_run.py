"""A run over sequences: every track that has no result yet, one sequence after the other."""

import time
from collections.abc import Sequence as Sequences
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from configs.errors import UserError
from data_prep.sequence import Sequence
from infer.engine import Engine
from infer.pictures import Pictures
from infer.progress import RunProgress
from infer.requests import StartTrack
from infer.summary import TrackOutcome
from infer.track_lines import TrackLines, take_down


class TrackStore(Protocol):
    """Which tracks a sequence has, how they begin, and where their results lie."""

    def prompts(self, sequence: Sequence) -> Sequences[str]:
        """The tracks of a sequence by their words."""
        ...

    def job(self, sequence: Sequence, prompt: str) -> tuple[str, StartTrack]:
        """Words and how to start their track."""
        ...

    def absent(self, sequence: Sequence, prompt: str) -> int | None:
        """Frames without the target in a result that is there and whole; None where there is none."""
        ...

    def write(self, sequence: Sequence, prompt: str, track: TrackLines) -> None:
        """Write a result, whole or not at all. Raises UserError where the disk refuses."""
        ...


@dataclass
class TrackRun:
    """One run; `outcomes` fills as tracks end. Sequences are looked up anew each time they are needed."""

    sequences: Sequences[Sequence]
    store: TrackStore
    engine: Engine
    pictures: Pictures | None
    outcomes: list[TrackOutcome] = field(default_factory=list)

    def run(self) -> None:
        """Track what is left; a sequence that fails is reported and the others go on."""
        todo: list[tuple[int, list[str]]] = []
        track_frames = 0
        for number, sequence in enumerate(self.sequences):
            if left := self._left(sequence):
                todo.append((number, left))
                track_frames += len(sequence.frames) * len(left)
        with RunProgress(track_frames, sum(len(left) for _, left in todo)) as progress:
            for number, left in todo:
                sequence = self.sequences[number]
                progress.sequence(sequence.name, len(left))
                self._track(sequence, left, progress)

    def _left(self, sequence: Sequence) -> list[str]:
        """The prompts of a sequence that have no whole result; those that have one count as written."""
        left = []
        for prompt in self.store.prompts(sequence):
            absent = self.store.absent(sequence, prompt)
            if absent is None:
                left.append(prompt)
            else:
                self._done(sequence, prompt, absent, seconds=0.0, kept=True)
        return left

    def _track(self, sequence: Sequence, prompts: list[str], progress: RunProgress) -> None:
        """Track one sequence's prompts together; a frame that cannot be read fails them all."""
        started = time.monotonic()
        tracks = [TrackLines() for _ in prompts]
        pictures = self.pictures.of_sequence(sequence, prompts) if self.pictures else nullcontext()
        try:
            with pictures as drawn:
                jobs = [self.store.job(sequence, prompt) for prompt in prompts]
                for step in self.engine.run(sequence.frames, jobs):
                    take_down(step, tracks)
                    if drawn:
                        drawn.add(step)
                    progress.advance(len(prompts))
                if drawn:
                    drawn.finish()
        except UserError as fault:
            self.outcomes += [failed(sequence.name, prompt, str(fault)) for prompt in prompts]
            return
        seconds = (time.monotonic() - started) / len(prompts)
        for prompt, track in zip(prompts, tracks, strict=True):
            self._write(sequence, prompt, track, seconds)

    def _write(self, sequence: Sequence, prompt: str, track: TrackLines, seconds: float) -> None:
        """Write one track's result; a disk that refuses fails this track alone."""
        try:
            self.store.write(sequence, prompt, track)
        except UserError as fault:
            self.outcomes.append(failed(sequence.name, prompt, str(fault)))
            return
        self._done(sequence, prompt, track.absent, seconds)

    def _done(self, sequence: Sequence, prompt: str, absent: int, seconds: float, kept: bool = False) -> None:
        shown = len(sequence.frames) - absent
        self.outcomes.append(TrackOutcome(sequence.name, prompt, shown, absent, None, seconds, None, kept))


def failed(sequence: str, prompt: str | None, reason: str) -> TrackOutcome:
    """The outcome of a track without a result."""
    return TrackOutcome(sequence, prompt, 0, 0, None, 0.0, reason)
