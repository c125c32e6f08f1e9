"""The sides of `python -m benchmarks inference`: the published loop, and runs of this project's engine."""

import contextlib
import dataclasses
import io
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.inference_forced import ForcedGrounding, ForcedMasking, Script
from benchmarks.inference_parts import PartClock, TimedGrounding, TimedMasking, timed_model
from benchmarks.inference_published import PublishedLoop
from data_prep.contract.contract import Contract
from data_prep.sequence import Sequence as Video
from data_prep.video.frames import ImageFrames
from data_prep.votsr.regions import encode_mask
from data_prep.votsr.results import result_path, write_result
from infer.config import InferSettings
from infer.engine.engine import Engine
from infer.engine.session import Session, open_session
from infer.runs.claims import claim_results
from infer.runs.records import TrackInputs, TrackRecords
from infer.runs.track_run import TrackRun
from infer.runs.workspace import workspace_plan
from models.interfaces import GroundingStatistics

Texts = dict[tuple[str, str], list[str]]
"""The text of the answer to each frame, by the sequence and the expression of a track."""


class Side(Protocol):
    """One side of the comparison: it writes the results of all tracks of a sequence."""

    name: str
    clock: PartClock
    model: Any  # the Qwen-VL model of the grounder
    mask_model: Any
    seconds: dict[str, float]  # `wall` and `processor` time of all calls of `run`
    passes: Counter[str]  # forward passes of the grounder by part, in all calls of `run`

    def warm_up(self, video: Video, num_frames: int) -> None:
        """Track the first frames of a video, without writing results."""
        ...

    def run(self, videos: Sequence[Video]) -> None:
        """Track all expressions of these videos, and write their results."""
        ...

    def texts(self) -> Texts:
        """The answers of all tracks so far. Only of a side that asks about every frame."""
        ...


class PublishedSide:
    """The published loop, one track after the other."""

    def __init__(self, name: str, loop: PublishedLoop, root: Path, now: Callable[[], float]) -> None:
        self.name, self.loop, self.root = name, loop, root
        self.model, self.mask_model = loop.model, loop.mask_model
        self.clock, self.seconds = PartClock(now), {"wall": 0.0, "processor": 0.0}
        self.passes = Counter[str]()
        self._texts: Texts = {}
        self.tokens: dict[tuple[str, str], list[tuple[int, ...]]] = {}

    def warm_up(self, video: Video, num_frames: int) -> None:
        """See `Side`."""
        for expression in video.expressions:
            for _ in self.loop.track(islice(video.frames, num_frames), expression, self.clock):
                pass

    def run(self, videos: Sequence[Video]) -> None:
        """See `Side`."""
        with _timed(self):
            for video in videos:
                for expression in video.expressions:
                    self._track(video, expression)

    def _track(self, video: Video, expression: str) -> None:
        lines, texts, tokens = [], [], []
        for result in self.loop.track(video.frames, expression, self.clock):
            lines.append(encode_mask(result.mask))
            texts.append(result.text)
            tokens.append(result.tokens)
        write_result(result_path(self.root, self.name, video.name, expression), lines, len(lines))
        self._texts[video.name, expression] = texts
        self.tokens[video.name, expression] = tokens

    def texts(self) -> Texts:
        """See `Side`."""
        return self._texts


class EngineSide:
    """Runs of this project's engine, as `python -m infer workspace=…` makes them, without overlays.

    With a script, the answers and masks of random weights are replaced by those of the script.
    """

    def __init__(
        self, settings: InferSettings, now: Callable[[], float], script: Script | None = None
    ) -> None:
        self.settings, self.name = settings, settings.tracker_id
        self.seconds, self.clock = {"wall": 0.0, "processor": 0.0}, PartClock(now)
        self.passes = Counter[str]()
        self.statistics = GroundingStatistics()  # counts of all calls of `run`
        session = open_session(settings)
        grounder: Any = session.engine.grounding
        mask_head: Any = session.engine.masking
        if script is not None:
            grounder, mask_head = ForcedGrounding(grounder, script), ForcedMasking(mask_head, script)
        self.model, self.mask_model = grounder.model, mask_head.model
        self.grounding = TimedGrounding(grounder, self.clock)
        engine = Engine(self.grounding, TimedMasking(mask_head, self.clock))
        self.session: Session = dataclasses.replace(session, engine=engine)
        self.contract: Contract = grounder.contract
        self._texts: Texts = {}

    def warm_up(self, video: Video, num_frames: int) -> None:
        """See `Side`."""
        store = workspace_plan(self.settings).open_store(self.session)
        starts = [store.start(video, expression) for expression in video.expressions]
        for _ in self.session.engine.run(islice(video.frames, num_frames), starts):
            pass

    def run(self, videos: Sequence[Video]) -> None:
        """See `Side`."""
        self.grounding.answers.clear()
        self.grounding.statistics.reset()
        timed = [_with_timed_frames(video, self.clock) for video in videos]
        plan, out = workspace_plan(self.settings), Path(self.settings.out)
        store = plan.open_store(self.session)
        fingerprint = {**self.session.fingerprint, **plan.identity}
        with claim_results(plan.results, fingerprint, overwrite=False) as claim:
            inputs, records = TrackInputs(plan.results, store), TrackRecords(out)
            tracking = TrackRun(
                timed, store, records, inputs, self.session.engine, None, claim,
                self.settings.engine, self.model.device.type,
            )  # fmt: skip
            # The progress goes to the standard output, which is that of the benchmark.
            with _timed(self), contextlib.redirect_stdout(io.StringIO()):
                tracking.run()
        for name in (
            "questions",
            "second_looks",
            "batches",
            "decoding_steps",
            "draft_tokens",
            "accepted_draft_tokens",
        ):
            counted = getattr(self.statistics, name) + getattr(self.grounding.statistics, name)
            setattr(self.statistics, name, counted)
        if failed := [outcome.failure for outcome in tracking.outcomes if outcome.failure]:
            raise RuntimeError(f"{self.name}: {failed[0]}")
        if len(videos) == 1:  # answers are assigned to tracks by their expressions alone
            self._keep_texts(videos[0])

    def _keep_texts(self, video: Video) -> None:
        """The answers as free generation writes them, for a tracker that asks once about every frame."""
        form = self.contract.format
        for expression in video.expressions:
            self._texts[video.name, expression] = [
                form.start
                + (
                    form.render(answer.text)
                    if answer.visible >= 0.5 or not form.has_decision
                    else form.render(None)
                )
                for asked, answer in self.grounding.answers
                if asked == expression
            ]

    def texts(self) -> Texts:
        """See `Side`."""
        return self._texts


@dataclasses.dataclass(frozen=True)
class _TimedFrames(ImageFrames):
    """Image files whose reading counts for `read`, unless a thread reads them beside the models."""

    clock: PartClock

    def read(self, path: Path) -> np.ndarray:
        with self.clock.part("read"):
            return super().read(path)


def _with_timed_frames(video: Video, clock: PartClock) -> Video:
    frames = video.frames
    assert isinstance(frames, ImageFrames), "rendered workspaces have image files"
    return dataclasses.replace(video, frames=_TimedFrames(frames.paths, frames.size, clock))


@contextlib.contextmanager
def _timed(side: Any) -> Any:
    """Add the time of the context to the `seconds` of a side, and time the parts of its model."""
    with timed_model(side.model, side.clock):
        side.clock.restart()
        side.clock.passes.clear()
        begun = time.perf_counter(), time.process_time()
        yield
        # A GPU may still be computing.
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        side.seconds["wall"] += time.perf_counter() - begun[0]
        side.seconds["processor"] += time.process_time() - begun[1]
        side.clock.stop()
        side.passes.update(side.clock.passes)
