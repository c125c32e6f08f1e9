"""Tracking a VOTSr workspace: every prompt of every sequence that has no result yet."""

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import UserError
from data_prep.sequence import Sequence
from data_prep.votsr.regions import ABSENT
from data_prep.votsr.results import read_lines, result_path, write_result
from data_prep.votsr.workspace import Workspace
from infer.pictures import Pictures
from infer.progress import RunProgress
from infer.session import Session
from infer.summary import TrackOutcome
from infer.track_lines import take_down


@dataclass
class VotsrRun:
    """One run over a workspace; `outcomes` fills as tracks end."""

    workspace: Workspace
    tracker_id: str
    session: Session
    pictures: Pictures | None
    outcomes: list[TrackOutcome] = field(default_factory=list)

    def run(self) -> None:
        """Track what is left; a sequence that fails is reported and the others go on."""
        self.outcomes += [_failed(p.sequence, p.prompt, p.reason) for p in self.workspace.problems]
        todo = [(sequence, self._left(sequence)) for sequence in self.workspace.sequences]
        todo = [(sequence, left) for sequence, left in todo if left]
        track_frames = sum(len(sequence.frames) * len(left) for sequence, left in todo)
        with RunProgress(track_frames, sum(len(left) for _, left in todo)) as progress:
            for sequence, left in todo:
                progress.sequence(sequence.name, len(left))
                self._track(sequence, left, progress)

    def _left(self, sequence: Sequence) -> list[str]:
        """The prompts of a sequence that have no whole result yet."""
        # Only empty prompts can repeat; all of them share one result file.
        return [prompt for prompt in dict.fromkeys(sequence.prompts) if not self._keep(sequence, prompt)]

    def _path(self, sequence: Sequence, prompt: str) -> Path:
        return result_path(self.workspace.root, self.tracker_id, sequence.name, prompt)

    def _keep(self, sequence: Sequence, prompt: str) -> bool:
        """Whether a whole result is there already; it is then counted as written."""
        path = self._path(sequence, prompt)
        if not path.is_file():
            return False
        try:
            lines = read_lines(path, len(sequence.frames))
        except UserError:
            return False  # not a whole result: the track is done again and the file replaced
        self.outcomes.append(_outcome(sequence, prompt, lines, seconds=0.0, kept=True))
        return True

    def _track(self, sequence: Sequence, prompts: list[str], progress: RunProgress) -> None:
        """Track one sequence's prompts together; a frame that cannot be read fails them all."""
        started = time.monotonic()
        lines: list[list[str]] = [[] for _ in prompts]
        pictures = self.pictures.of_sequence(sequence, prompts) if self.pictures else nullcontext()
        try:
            with pictures as drawn:
                jobs = [self.session.job(prompt) for prompt in prompts]
                for step in self.session.engine.run(sequence.frames, jobs):
                    take_down(step, lines)
                    if drawn:
                        drawn.add(step)
                    progress.advance(len(prompts))
                if drawn:
                    drawn.finish()
        except UserError as fault:
            self.outcomes += [_failed(sequence.name, prompt, str(fault)) for prompt in prompts]
            return
        seconds = (time.monotonic() - started) / len(prompts)
        for prompt, track_lines in zip(prompts, lines, strict=True):
            self._write(sequence, prompt, track_lines, seconds)

    def _write(self, sequence: Sequence, prompt: str, lines: list[str], seconds: float) -> None:
        """Write one track's result; a disk that refuses fails this track alone."""
        try:
            write_result(self._path(sequence, prompt), lines, len(sequence.frames))
        except UserError as fault:
            self.outcomes.append(_failed(sequence.name, prompt, str(fault)))
            return
        self.outcomes.append(_outcome(sequence, prompt, lines, seconds))


def _outcome(
    sequence: Sequence, prompt: str, lines: list[str], seconds: float, kept: bool = False
) -> TrackOutcome:
    absent = lines.count(ABSENT)
    return TrackOutcome(sequence.name, prompt, len(lines) - absent, absent, None, seconds, None, kept)


def _failed(sequence: str, prompt: str | None, reason: str) -> TrackOutcome:
    return TrackOutcome(sequence, prompt, 0, 0, None, 0.0, reason)
