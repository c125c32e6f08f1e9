"""Runs on a Ray cluster of this machine. They need the package ray, and are skipped without it."""

import dataclasses
import os
import signal
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.kill import descendants
from configs.errors import UserError
from infer.config import InferSettings
from infer.launch.config import RayLaunchConfig, check_launch
from infer.launch.run import run
from tests.test_launch_local import checkpoints, files, settings, summary_of  # noqa: F401  # fixtures

pytestmark = pytest.mark.usefixtures("forked_toolkit")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="the package ray is not installed")


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infer.launch.config.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"launch=ray: needs the package ray; pip install -e '.\[ray\]'"):
        check_launch(RayLaunchConfig())


def kill_a_worker(results: Path, killed: list[int]) -> None:
    """Wait for the first result, then end an actor by SIGKILL."""
    while not list(results.rglob("*.txt")):
        time.sleep(0.01)
    for pid in descendants(os.getpid()):
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::RayWorker"):
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
            return


@needs_ray
def test_actors_write_the_files_of_one_process_also_when_one_is_killed(
    settings: InferSettings,  # noqa: F811
    tmp_path: Path,
) -> None:
    assert run(dataclasses.replace(settings, tracker_id="one", out=str(tmp_path / "one"))) == 0
    ray_settings = dataclasses.replace(
        settings, tracker_id="ray", launch=RayLaunchConfig(processes=2, cpus=0.5)
    )
    results, killed = tmp_path / "ws" / "results", list[int]()
    threading.Thread(target=kill_a_worker, args=(results / "ray", killed), daemon=True).start()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    assert run(ray_settings) == 0
    assert killed and files(results / "ray") == files(results / "one")
    logs = {path.name for path in (tmp_path / "out" / "logs").iterdir()}
    assert logs == {"worker-0.log", "worker-1.log"}
    # If it was killed between two sequences, none had to be tracked again.
    warnings = summary_of(ray_settings)["warnings"]
    assert all("was started again" in warning for warning in warnings), warnings
    assert signal.getsignal(signal.SIGTERM) == on_sigterm
    assert list(tmp_path.rglob(".part-*")) == [] and list(tmp_path.rglob(".lock-*")) == []
