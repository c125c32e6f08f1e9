"""The same work on many items in several processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from configs.errors import UserError
from data_prep.parallel import in_processes, with_bar


def squared(number: int) -> tuple[int, int]:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number, os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    threading.Thread(target=int).start()  # such as torch's and OpenCV's
    results = list(in_processes(squared, range(12), workers))
    assert [result for result, _ in results] == [number * number for number in range(12)]
    here = {process == os.getpid() for _, process in results}
    assert workers == 0 or here == {workers == 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fault_in_a_process_is_raised_here(workers: int) -> None:
    results = in_processes(squared, [2, -3, 4], workers)
    assert next(results)[0] == 4
    with pytest.raises(ValueError, match="-3 is negative"):
        list(results)


def ended(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_process_that_is_killed_is_told() -> None:
    with pytest.raises(UserError, match="workers=: a process was ended"):
        list(in_processes(ended, range(4), 1 + 1))


WAITING = """
import os, signal, sys, time
from pathlib import Path
from data_prep.parallel import in_processes

def wait(number):
    print(os.getpid(), flush=True)
    while number and not Path(sys.argv[1]).exists():  # the first one is at rest then
        time.sleep(0.02)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell began this with &
    list(in_processes(wait, range(2), 2))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_a_command_that_is_ended(tmp_path: Path, how: signal.Signals) -> None:
    script, root = tmp_path / "waiting.py", str(Path(__file__).parent.parent)
    go_on = tmp_path / "go_on"
    script.write_text(WAITING)
    with subprocess.Popen(
        [sys.executable, str(script), str(go_on)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        start_new_session=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        workers = [int(process.stdout.readline()) for _ in range(2)]
        if how == signal.SIGINT:
            time.sleep(0.5)
            os.killpg(process.pid, how)  # as a terminal does
            time.sleep(0.5)
            go_on.touch()  # what was begun is waited for
            assert process.stderr.read().count("Traceback") == 1, "told by one process, not by all"
        else:
            process.kill()
        process.wait()
        until = time.monotonic() + 10
        while any(map(is_running, workers)) and time.monotonic() < until:
            time.sleep(0.02)
    assert not any(map(is_running, workers))


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def shown(results: Iterable[int], capsys: pytest.CaptureFixture[str]) -> str:
    assert list(with_bar(results, "tnllt train", 3)) == [0, 1, 2]
    printed = capsys.readouterr()
    assert not printed.out, "what a command prints is not mixed with its bar"
    return printed.err


def test_a_bar_is_for_a_terminal_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not shown(range(3), capsys)
    monkeypatch.setenv("FORCE_COLOR", "1")
    told = shown(iter(range(3)), capsys)
    assert "tnllt train" in told and "100%" in told
