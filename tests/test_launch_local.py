"""Runs in several processes of this machine: the files of one process, also after a process was killed."""

import dataclasses
import json
import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kill import KilledRuns, descendants, run_locally
from configs.errors import UserError
from infer.config import InferSettings
from infer.launch.config import LocalLaunchConfig
from infer.launch.local_workers import LocalWorkers
from infer.launch.run import _local_environments, track_on
from infer.runs.run import run
from infer.trackers.referral import ReferralConfig
from models.config import GrounderConfig
from models.mask_head.config import MaskHeadConfig
from tests.forkserver import FORKSERVER
from tests.tiny_models import save_grounder, save_mask_head
from tests.votsr_miniature import add_sequence, make_workspace

pytestmark = pytest.mark.usefixtures("forked_toolkit")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return save_grounder(folder / "grounder"), save_mask_head(folder / "mask_head")


@pytest.fixture
def settings(tmp_path: Path, checkpoints: tuple[Path, Path]) -> InferSettings:
    """A run over three sequences in `tmp_path/ws`, one of them longer than the others."""
    make_workspace(tmp_path / "ws", names=["ball", "cup", "kite"])
    add_sequence(tmp_path / "ws", "kite", num_frames=12)
    grounder, mask_head = checkpoints
    return InferSettings(
        workspace=str(tmp_path / "ws"),
        model=GrounderConfig(str(grounder)),
        mask_head=MaskHeadConfig(str(mask_head)),
        tracker=ReferralConfig(activation_threshold=0.0, logit_scale=0.0, confirm=False),
        device="cpu",
        out=str(tmp_path / "out"),
        pack=False,
        overlay=False,
    )


def track_in_two(settings: InferSettings) -> int:
    """Track in two processes, forked from a server that has imported torch."""
    workers = LocalWorkers(settings, [{}, {}], FORKSERVER)
    return run(settings, lambda plan, planned: track_on(workers, 2, plan, planned))


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def summary_of(settings: InferSettings) -> dict[str, Any]:
    return dict(json.loads((Path(settings.out) / "summary.json").read_text()))


def test_two_processes_write_the_files_of_one(
    settings: InferSettings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = dataclasses.replace(settings, overlay=True)
    assert run(dataclasses.replace(settings, tracker_id="one", out=str(tmp_path / "one"))) == 0
    capfd.readouterr()
    two = dataclasses.replace(settings, tracker_id="two", out=str(tmp_path / "two"))
    assert track_in_two(two) == 0
    # 1. The results are the same, and so is what is written beside them.
    results = tmp_path / "ws" / "results"
    assert files(results / "two") == files(results / "one")
    names = files(tmp_path / "two").keys()
    assert names - files(tmp_path / "one").keys() == {"logs/worker-0.log", "logs/worker-1.log"}
    tracks = [
        [
            (track["sequence"], track["expression"], track["boxes_xyxy"])
            for track in json.loads(text)["tracks"]
        ]
        for text in ((tmp_path / name / "tracks.json").read_text() for name in ("one", "two"))
    ]
    assert tracks[0] == tracks[1] and len(tracks[0]) == 6
    # 2. There is one summary of all workers, one progress view, and each warning once.
    summary = summary_of(two)
    one = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert summary["track_frames"] == one["track_frames"] == 40
    assert summary["questions"] == one["questions"] > 0
    shown = capfd.readouterr()
    assert "6/6 tracks" in shown.out and shown.err.count("has no calibration.json") == 1


def test_a_run_survives_the_kill_of_any_of_its_processes(settings: InferSettings) -> None:
    assert settings.workspace is not None
    results = Path(settings.workspace) / "results"
    runs, chance = KilledRuns(settings, results, run_locally, FORKSERVER), random.Random(0)
    # At more moments in `python -m benchmarks kill`.
    for share in (0.35, 0.7):
        assert runs.kill_one(share * runs.seconds, chance) is None
    assert list(Path(settings.out).rglob(".part-*")) == []


def test_a_mistake_that_only_a_worker_finds_is_one_line(settings: InferSettings, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    broken = dataclasses.replace(settings, model=GrounderConfig(str(tmp_path / "weights")))
    with pytest.raises(UserError, match="weights"):
        track_in_two(broken)


def test_an_interrupt_ends_all_workers_and_leaves_nothing_half_written(settings: InferSettings) -> None:
    interrupted_at: list[float] = []
    workers: list[int] = []

    def interrupt() -> None:
        results = Path(settings.workspace or "") / "results"
        while not list(results.rglob("*.txt")):
            time.sleep(0.01)
        workers.extend(descendants(os.getpid()))
        interrupted_at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        track_in_two(settings)
    assert time.monotonic() - interrupted_at[0] < 20
    for folder in (settings.out, settings.workspace):
        left = [path.name for path in Path(folder or "").rglob(".*") if path.is_file()]
        assert left == []


def test_one_process_is_the_one_that_was_started(settings: InferSettings) -> None:
    assert _local_environments(settings) == [{}]
    two = dataclasses.replace(settings, launch=LocalLaunchConfig(processes=2))
    assert _local_environments(two) == [{}, {}]


@pytest.mark.parametrize(
    ("visible", "count", "changes", "expected"),
    [
        (None, 2, {}, ["0", "1"]),
        ("3,GPU-5a", 2, {}, ["3", "GPU-5a"]),
        (None, 2, {"launch": LocalLaunchConfig(processes=3)}, ["0", "1", "0"]),
        (None, 2, {"device": "cuda:1"}, [None]),
        (None, 2, {"model": GrounderConfig("weights", device_map="auto")}, [None]),
    ],
)
def test_each_process_sees_a_gpu_of_its_own(
    visible: str | None,
    count: int,
    changes: dict[str, Any],
    expected: Sequence[str | None],
    settings: InferSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    environments = _local_environments(dataclasses.replace(settings, **{"device": "auto", **changes}))
    assert [each.get("CUDA_VISIBLE_DEVICES") for each in environments] == expected
