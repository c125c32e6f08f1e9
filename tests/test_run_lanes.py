"""Whole runs with several lanes and scripted models: equal results, failures in threads, interrupts."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from data_prep.geometry import Box
from data_prep.trace import read_trace
from data_prep.votsr.textfiles import write_workspace
from infer.config import InferSettings
from infer.engine.backends.registry import BACKENDS, BackendSettings, register_backend
from infer.engine.config import EngineConfig
from infer.launch.run import _NoTrackers
from infer.runs import run as infer_run
from infer.runs.records import TrackInputs, TrackRecords
from infer.runs.run import make_plan
from infer.runs.tasks import SequenceTask
from infer.runs.tracks import RunTracks
from infer.trackers.referral import ReferralConfig
from models.interfaces import Answer, FrameFeatures, MaskResult, Question
from models.mask_head.config import MaskHeadConfig
from models.mask_head.registry import MASK_HEADS, register_mask_head
from tests.registries import forget_later
from tests.scripted import ScriptedGrounding, ScriptedMasking
from tests.votsr_miniature import SIZE, add_sequence

BOXES: dict[str, Box] = {"the red cup": (4, 4, 20, 20), "the blue cup": (30, 10, 50, 30)}
# Frames of each sequence. The brightness of its frames is its position times 20.
SEQUENCES = {"ant": 3, "bee": 9, "cow": 5, "dog": 2}


@dataclass(frozen=True)
class ScriptedConfig(EngineConfig):
    """A backend that answers from a script."""


@dataclass(frozen=True)
class ScriptedMaskConfig(MaskHeadConfig):
    """A mask head that fills boxes."""


class _Models:
    """The scripted models of a run, and what a test does when the mask head encodes a frame."""

    def __init__(self) -> None:
        self.grounding = ScriptedGrounding(BOXES)
        self.on_frame: Callable[[int], None] = lambda brightness: None
        models = self

        class Masking(ScriptedMasking):
            def encode(self, frame: np.ndarray) -> FrameFeatures:
                models.on_frame(int(frame[0, 0, 0]))
                return super().encode(frame)

        self.masking = Masking()


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> _Models:
    forget_later(monkeypatch, BACKENDS, MASK_HEADS)
    models = _Models()

    @register_backend(scripted=ScriptedConfig())
    def open_scripted(settings: BackendSettings, device: object) -> ScriptedGrounding:
        return models.grounding

    @register_mask_head(scripted=ScriptedMaskConfig("scripted"))
    def load_scripted(config: ScriptedMaskConfig, device: object) -> ScriptedMasking:
        return models.masking

    return models


@pytest.fixture
def settings(tmp_path: Path, models: _Models) -> InferSettings:
    root = tmp_path / "ws"
    for position, (name, count) in enumerate(SEQUENCES.items()):
        folder = add_sequence(root, name, count, tuple(BOXES))
        for path in (folder / "color").iterdir():
            Image.new("RGB", SIZE, (20 * position,) * 3).save(path, quality=100)
    write_workspace(root, list(SEQUENCES))
    return InferSettings(
        workspace=str(root),
        mask_head=ScriptedMaskConfig("scripted"),
        tracker=ReferralConfig(logit_scale=1.0, verify_interval=2),
        engine=ScriptedConfig(),
        device="cpu",
        out=str(tmp_path / "out"),
        pack=False,
        overlay=False,
    )


def run(settings: InferSettings, **engine: Any) -> tuple[int, dict[str, Any]]:
    """The exit status and the summary of a run with these keys of the engine."""
    status = infer_run.run(dataclasses.replace(settings, engine=ScriptedConfig(**engine)))
    return status, json.loads((Path(settings.out) / "summary.json").read_text())


def files(settings: InferSettings) -> dict[str, bytes]:
    """Result files, records, traces, overlays and timelines, by their folder and name."""
    results, out = Path(settings.workspace or "") / "results", Path(settings.out)
    found = [*results.rglob("*.txt"), *(out / "traces").glob("*"), out / "tracks.json"]
    found += [*out.rglob("*.mp4"), *out.rglob("*.png")]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in sorted(found) if path.is_file()}


def results_of(settings: InferSettings) -> set[str]:
    """The names of the sequences with results."""
    return {path.parent.name for path in (Path(settings.workspace or "") / "results").rglob("*.txt")}


def leftovers(folder: Path) -> list[Path]:
    return [path for name in (".part-*", ".lock-*") for path in folder.rglob(name)]


def test_all_files_are_the_same_with_one_lane_and_with_three(settings: InferSettings, tmp_path: Path) -> None:
    drawn = dataclasses.replace(settings, overlay=True)
    status, summary = run(drawn, lanes=1, read_ahead=0, write_behind=0)
    assert status == 0 and summary["written"] == 8
    expected = files(drawn)
    assert len(expected) == 8 + 8 + 8 + 4 + 5 + 4 + 1  # … videos of all, sheets, timelines, tracks.json
    again = dataclasses.replace(drawn, overwrite=True)
    assert run(again, lanes=3)[0] == 0 and files(again) == expected
    assert run(again, lanes=3, deterministic=False)[0] == 0 and files(again) == expected


@pytest.mark.parametrize(("cores", "threads"), [(1, set()), (2, {"reader", "writer", "video"})])
def test_on_a_single_core_nothing_is_read_drawn_or_written_in_threads(
    settings: InferSettings, models: _Models, monkeypatch: pytest.MonkeyPatch, cores: int, threads: set[str]
) -> None:
    for module in ("infer.render.overlays", "infer.runs.sequence_job"):
        monkeypatch.setattr(f"{module}.usable_cores", lambda: cores)
    before, seen = set(threading.enumerate()), set[str]()
    models.on_frame = lambda _: seen.update(
        thread.name.partition("_")[0] for thread in set(threading.enumerate()) - before
    )
    status, _ = run(dataclasses.replace(settings, overlay=True), lanes=1)
    assert status == 0 and seen == threads


def test_tracks_that_a_dead_worker_has_written_are_found_on_the_disk(settings: InferSettings) -> None:
    run(settings, lanes=1)
    plan = make_plan(settings)
    store = plan.open_store(_NoTrackers())
    tracks = RunTracks(
        plan.sequences, store, TrackRecords(Path(settings.out)), TrackInputs(plan.results, store)
    )
    task = SequenceTask(1, "bee", 9, tuple(BOXES))
    found = tracks.find_written(task)
    assert [(each.expression, each.track_frames, each.kept) for each in found] == [
        (expression, 9, False) for expression in BOXES
    ]
    # A result that is cut short, and results of other frames, are not counted.
    first, _ = sorted(plan.results.rglob("bee_*.txt"))
    first.write_text("0\n")
    assert len(tracks.find_written(task)) == 1
    Image.new("RGB", SIZE, "white").save(next(Path(settings.workspace or "").rglob("bee/color/*")))
    assert tracks.find_written(task) == [] and tracks.outcomes == []


def test_the_summary_says_where_the_time_went(settings: InferSettings, models: _Models) -> None:
    _, summary = run(settings, lanes=2)
    assert summary["questions"] == models.grounding.statistics.questions > 0
    assert summary["questions_per_frame"] == round(summary["questions"] / sum(SEQUENCES.values()), 3)
    assert {"decode", "grounder", "mask_head", "write", "idle"} <= set(summary["seconds_by_part"])
    assert summary["seconds_by_part"]["decode"] > 0 and summary["seconds_by_part"]["mask_head"] > 0
    assert summary["peak_memory_bytes"]["host"] > 1 << 20
    # The scripted grounder has neither drafts nor tokens.
    assert summary["draft_accepted"] is None and summary["prompt_shared"] is None


def test_the_claim_of_a_sequence_is_released_when_its_results_are_written(
    settings: InferSettings, tmp_path: Path, models: _Models
) -> None:
    locks = Path(settings.workspace or "") / "results" / "refertrack"
    held: list[int] = []

    def wait_for_the_first_sequence(brightness: int) -> None:
        # In the last frame of the second sequence the first one must have been released.
        if brightness == 20:
            deadline = time.monotonic() + 5
            while len(results_of(settings)) < 1 or len(list(locks.glob(".lock-sequence-*"))) > 1:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            held.append(brightness)

    models.on_frame = wait_for_the_first_sequence
    status, _ = run(settings, lanes=1)
    assert status == 0 and len(held) == SEQUENCES["bee"]


def test_results_that_cannot_be_encoded_fail_their_sequence_alone(
    settings: InferSettings, tmp_path: Path, models: _Models
) -> None:
    class WrongShape(ScriptedMasking):
        """Its masks of one sequence are no images, which shows when they are encoded in a thread."""

        def segment(self, features: FrameFeatures, *arguments: Any) -> list[MaskResult]:
            found = super().segment(features, *arguments)
            if features != 20:
                return found
            return [dataclasses.replace(each, mask=np.ones(5, bool)) for each in found]

    models.masking = WrongShape()
    status, summary = run(settings, lanes=3)
    assert status == 1 and {each["sequence"] for each in summary["failed"]} == {"bee"}
    assert results_of(settings) == {"ant", "cow", "dog"} and leftovers(tmp_path) == []


def test_a_sequence_that_does_not_fit_beside_others_is_tracked_alone(
    settings: InferSettings, models: _Models
) -> None:
    run(settings, lanes=1)
    expected = files(settings)
    faults = iter([MemoryError()])

    def run_out_of_memory_once(brightness: int) -> None:
        if brightness == 20 and (fault := next(faults, None)):
            raise fault

    models.on_frame = run_out_of_memory_once
    again = dataclasses.replace(settings, overwrite=True)
    status, summary = run(again, lanes=3)
    assert status == 0 and summary["written"] == 8 and files(again) == expected
    assert len(summary["warnings"]) == 1 and summary["warnings"][0].startswith("bee: did not fit into memory")


def test_a_sequence_that_does_not_fit_alone_fails(settings: InferSettings, models: _Models) -> None:
    def run_out_of_memory(brightness: int) -> None:
        if brightness == 20:
            raise MemoryError

    models.on_frame = run_out_of_memory
    status, summary = run(settings, lanes=3)
    assert status == 1 and {each["sequence"] for each in summary["failed"]} == {"bee"}
    assert results_of(settings) == {"ant", "cow", "dog"}


def test_an_interrupt_leaves_nothing_half_written_and_the_rest_follows(
    settings: InferSettings, tmp_path: Path, models: _Models
) -> None:
    drawn = dataclasses.replace(settings, overlay=True)
    run(drawn, lanes=1)
    expected = files(drawn)
    seen: list[int] = []

    def interrupt_late(brightness: int) -> None:
        seen.append(brightness)
        if len(seen) == 12:
            raise KeyboardInterrupt

    models.on_frame = interrupt_late
    again = dataclasses.replace(drawn, overwrite=True)
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run(again, lanes=3)
    assert leftovers(tmp_path) == [] and threading.active_count() == threads
    assert results_of(settings) != set(SEQUENCES)
    models.on_frame = lambda brightness: None
    status, summary = run(drawn, lanes=3)
    assert status == 0 and summary["written"] == 8 and files(drawn) == expected


def test_every_track_has_a_trace_as_long_as_its_result_holds(settings: InferSettings) -> None:
    run(settings, lanes=2)
    out = Path(settings.out)

    def tracks() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((out / "tracks.json").read_text())["tracks"]
        return found

    for track in tracks():
        trace = read_trace(out / track["trace"], track["frames"])
        assert [each.state for each in trace] == track["states"]
        assert [each.confidence for each in trace] == track["confidences"]
        assert [each.absent for each in trace] == [box is None for box in track["boxes_xyxy"]]
        assert {request.request for each in trace for request in each.asked} >= {"locate_frame", "segment"}
    # A result that was exchanged is another one, and only its trace is removed.
    ant, _ = sorted((Path(settings.workspace or "") / "results").rglob("ant_*.txt"))
    ant.write_text("0\n" * SEQUENCES["ant"])
    run(settings, lanes=1)
    assert [Path(track["masks"]).name for track in tracks() if track["trace"] is None] == [ant.name]
    # Without traces none of other results is left.
    run(dataclasses.replace(settings, trace=False, overwrite=True), lanes=1)
    assert [track["trace"] for track in tracks()] == [None] * 8 and not list(out.rglob("*.jsonl"))


def test_questions_of_one_sequence_that_cannot_be_answered_fail_it_alone(
    settings: InferSettings, models: _Models
) -> None:
    class Refusing(ScriptedGrounding):
        def locate(self, questions: Sequence[Question]) -> list[Answer]:
            if any(question.image[0, 0, 0] == 40 for question in questions):
                raise UserError("the server has no answer")
            return super().locate(questions)

    models.grounding = Refusing(BOXES)
    status, summary = run(settings, lanes=3, deterministic=False)
    assert status == 1 and {each["sequence"] for each in summary["failed"]} == {"cow"}
    assert {each["reason"] for each in summary["failed"]} == {"the server has no answer"}
    assert results_of(settings) == {"ant", "bee", "dog"}


def test_a_profiled_run_writes_a_trace_that_is_json(
    settings: InferSettings, tmp_path: Path, models: _Models
) -> None:
    class Timed(ScriptedGrounding):
        """Measures a part of its work."""

        def locate(self, questions: Sequence[Question]) -> list[Answer]:
            with self.statistics.timed("prefill"):
                return super().locate(questions)

    models.grounding = Timed(BOXES)
    status, _ = run(dataclasses.replace(settings, profile=True), lanes=1)
    trace = tmp_path / "out" / "trace.json"
    events = json.loads(trace.read_text())["traceEvents"]
    assert status == 0 and {"grounder", "prefill", "mask_head"} <= {event.get("name") for event in events}
    assert trace.stat().st_size < 5_000_000
