"""A run over sequences: every track that has no result yet, one sequence after the other."""

import time
from collections.abc import Iterable
from collections.abc import Sequence as Sequences
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import UserError
from configs.terminal import LONGEST_NAME, shortened
from data_prep.geometry import Size
from data_prep.sequence import Sequence
from infer.engine.engine import Engine, TrackLines, take_down
from infer.engine.failures import free_memory, reason_of
from infer.render.overlays import Pictures
from infer.runs.claims import Claim
from infer.runs.plan import TrackStore
from infer.runs.progress import RunProgress
from infer.runs.records import TrackInputs, TrackRecords
from infer.runs.summary import TrackOutcome


@dataclass
class TrackRun:
    """One run; `outcomes` and `warnings` fill as tracks end, `frame_sizes` by sequence as it begins.

    Sequences are looked up anew each time they are needed. `claim` is of the folder of results: another run
    that works there shares the sequences with this one.
    """

    sequences: Sequences[Sequence]
    store: TrackStore
    engine: Engine
    pictures: Pictures | None
    claim: Claim
    records: TrackRecords
    inputs: TrackInputs
    outcomes: list[TrackOutcome] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    frame_sizes: dict[str, Size] = field(default_factory=dict)

    def run(self) -> None:
        """Track what is left; a sequence that fails is reported and the others go on.

        Sequences that another run tracks are left to the end. Then this one waits for each, so that all
        results are there when it ends, and tracks what the other did not finish.
        """
        todo: list[tuple[int, list[str]]] = []
        track_frames = 0
        for number in range(len(self.sequences)):
            sequence = self._sequence(number)
            if sequence is None:
                continue
            self.frame_sizes[sequence.name] = sequence.frames.size
            if left := self._askable(sequence):
                todo.append((number, left))
                track_frames += len(sequence.frames) * len(left)
        with RunProgress(track_frames, sum(len(left) for _, left in todo)) as progress:
            elsewhere = [(number, left) for number, left in todo if not self._begin(number, left, progress)]
            for number, left in elsewhere:
                self._begin(number, left, progress, wait=True)

    def _sequence(self, number: int) -> Sequence | None:
        """A sequence; None, and a failure, where it cannot be looked up."""
        try:
            return self.sequences[number]
        except Exception as fault:
            self.outcomes.append(failed(f"sequence {number + 1}", None, reason_of(fault)))
            return None

    def _askable(self, sequence: Sequence) -> list[str]:
        """The prompts without a result that can be asked for; one that cannot fails here, and alone."""
        askable = []
        for prompt in self._left(sequence, self.store.prompts(sequence)):
            words = prompt
            try:
                for words in self.store.words(sequence, prompt):
                    self.engine.check_expression(words)
                askable.append(prompt)
            except Exception as fault:
                # The outcome names the prompt; a wording that replaces it in some frames is named here.
                where = "" if words == prompt else f"“{shortened(words, LONGEST_NAME)}”: "
                self.outcomes.append(failed(sequence.name, prompt, where + reason_of(fault)))
        return askable

    def _left(self, sequence: Sequence, prompts: Iterable[str]) -> list[str]:
        """The prompts of a sequence that have no whole result; those that have one count as written."""
        left = []
        changed = self._have_changed(sequence)
        for prompt in prompts:
            absent = None if changed else self.store.absent(sequence, prompt)
            if absent is None:
                left.append(prompt)
            else:
                self._done(sequence, prompt, absent, seconds=0.0, kept=True)
                self._restore_record(sequence, prompt)
        return left

    def _begin(self, number: int, prompts: list[str], progress: RunProgress, wait: bool = False) -> bool:
        """Track what is left of a sequence; False, and nothing is done, while another run tracks it."""
        sequence = self._sequence(number)
        if sequence is None:
            return True
        if wait:
            progress.waiting(sequence.name)
        with self.claim.sequence(sequence.name, wait) as is_mine:
            if not is_mine:
                return False
            left = self._left(sequence, prompts)  # another run may have ended it meanwhile
            progress.skip(len(sequence.frames) * (len(prompts) - len(left)))
            progress.sequence(sequence.name, len(prompts))
            if left and self._note_inputs(sequence, left):
                self._track(sequence, left, progress)
        return True

    def _have_changed(self, sequence: Sequence) -> bool:
        """Whether the results of a sequence are of other pictures or texts, and so not to be kept."""
        try:
            return self.inputs.have_changed(sequence)
        except Exception:  # what cannot be looked at fails where it is tracked, with its reason
            return False

    def _note_inputs(self, sequence: Sequence, prompts: list[str]) -> bool:
        """Remove results of other inputs, and write down the present ones; False, and failures, if not."""
        try:
            if self.inputs.have_changed(sequence) and self.inputs.forget_results(sequence):
                self.warnings.append(
                    f"{sequence.name}: its frames, or what else its tracks follow from, have changed since "
                    "it was tracked; it was tracked again"
                )
            self.inputs.note(sequence)
            return True
        except Exception as fault:
            self.outcomes += [failed(sequence.name, prompt, reason_of(fault)) for prompt in prompts]
            return False

    def _track(self, sequence: Sequence, prompts: list[str], progress: RunProgress) -> None:
        """Track one sequence's prompts together; what goes wrong in it fails them all, and only them."""
        started = time.monotonic()
        tracks = [TrackLines() for _ in prompts]
        reason = ""
        try:
            self._follow(sequence, prompts, tracks, progress)
        except Exception as fault:
            reason = reason_of(fault)
        if reason:  # the exception, and with it all that its frames held, is gone here
            free_memory()
            self.outcomes += [failed(sequence.name, prompt, reason) for prompt in prompts]
            return
        seconds = (time.monotonic() - started) / len(prompts)
        for prompt, track in zip(prompts, tracks, strict=True):
            self._write(sequence, prompt, track, seconds)

    def _follow(
        self, sequence: Sequence, prompts: list[str], tracks: list[TrackLines], progress: RunProgress
    ) -> None:
        """Run the engine over a sequence, drawing as it goes."""
        if not len(sequence.frames):
            raise UserError(f"{sequence.name}: holds no frames; restore them or leave it out")
        pictures = self.pictures.of_sequence(sequence, prompts) if self.pictures else nullcontext()
        with pictures as drawn:
            jobs = [self.store.job(sequence, prompt) for prompt in prompts]
            for step in self.engine.run(sequence.frames, jobs):
                take_down(step, tracks)
                if drawn:
                    drawn.add(step)
                progress.advance(len(prompts))
            if drawn:
                drawn.finish()

    def _write(self, sequence: Sequence, prompt: str, track: TrackLines, seconds: float) -> None:
        """Write one track's record and result; a disk that refuses fails this track alone."""
        try:
            self.records.write(sequence, prompt, self.store.files(sequence, prompt), track)
            self.store.write(sequence, prompt, track)
        except Exception as fault:
            self.outcomes.append(failed(sequence.name, prompt, reason_of(fault)))
            return
        self._done(sequence, prompt, track.absent, seconds)

    def _restore_record(self, sequence: Sequence, prompt: str) -> None:
        try:
            self.records.restore(sequence, prompt, self.store.files(sequence, prompt))
        except Exception as fault:
            self.warnings.append(f"{sequence.name}: not in tracks.json: {reason_of(fault)}")

    def join_records(self) -> Path | None:
        """Write `tracks.json` of all tracks with a result; where the disk refuses, a warning and None."""
        try:
            return self.records.join(
                (outcome.sequence, outcome.prompt)
                for outcome in self.outcomes
                if outcome.prompt is not None and not outcome.failure
            )
        except Exception as fault:
            self.warnings.append(f"no tracks.json: {reason_of(fault)}")
            return None

    def _done(self, sequence: Sequence, prompt: str, absent: int, seconds: float, kept: bool = False) -> None:
        shown = len(sequence.frames) - absent
        self.outcomes.append(TrackOutcome(sequence.name, prompt, shown, absent, None, seconds, None, kept))


def failed(sequence: str, prompt: str | None, reason: str) -> TrackOutcome:
    """The outcome of a track without a result."""
    return TrackOutcome(sequence, prompt, 0, 0, None, 0.0, reason)
