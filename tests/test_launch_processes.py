"""The processes of a node: started together, told together to stop, and none outlives the others."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.launch.nodes import Node
from configs.launch.processes import _signals_forwarded, launch_processes
from configs.launch.signals import Stopped
from tests.launched_work import fail_at_one, until_told, write_rank

ROOT = Path(__file__).resolve().parent.parent


def test_each_process_has_its_number(tmp_path: Path) -> None:
    assert launch_processes(write_rank, (tmp_path,), Node().process_environments(2)) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0": "2", "1": "2"}


def test_one_mistake_ends_all_and_is_told_once() -> None:
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"^a file is broken$"):
        launch_processes(fail_at_one, ("mistake",), Node().process_environments(2))
    assert time.monotonic() - begun < 40


def test_a_killed_process_ends_all(caplog: pytest.LogCaptureFixture) -> None:
    assert launch_processes(fail_at_one, ("killed",), Node().process_environments(2)) != 0
    assert "process 1 of 2 ended with status -9" in caplog.text


def test_ctrl_c_is_handed_on_as_sigterm_and_all_may_finish(tmp_path: Path) -> None:
    def tell() -> None:
        while len(list(tmp_path.glob("ready*"))) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=tell).start()
    with pytest.raises(Stopped) as stopped:
        launch_processes(until_told, (tmp_path,), Node().process_environments(2))
    assert stopped.value.status == 130 and stopped.value.is_reported
    assert len(list(tmp_path.glob("saved*"))) == 2


def test_the_second_ctrl_c_ends_at_once_and_handlers_are_put_back(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with _signals_forwarded([]) as came:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert came == [signal.SIGTERM, signal.SIGINT]
        assert "Ctrl-C again ends at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


ORPHANS = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.launched_work import until_told
from configs.launch.nodes import Node
from configs.launch.processes import _signals_forwarded, launch_processes
from configs.launch.signals import Stopped
if __name__ == "__main__":
    launch_processes(until_told, (Path({folder!r}),), Node().process_environments(1))
"""


def test_no_process_outlives_a_killed_launcher(tmp_path: Path) -> None:
    script = tmp_path / "launch.py"
    script.write_text(ORPHANS.format(root=str(ROOT), folder=str(tmp_path)))
    launcher = subprocess.Popen([sys.executable, str(script)], cwd=ROOT)
    while not (tmp_path / "ready0").exists():
        assert launcher.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, children
        time.sleep(0.05)
