"""What processes of tests do; imports nothing heavy, since each of them imports it."""

import os
import signal
import time
from pathlib import Path

from configs.errors import UserError


def write_rank(folder: Path) -> None:
    (folder / os.environ["RANK"]).write_text(os.environ["WORLD_SIZE"])


def fail_at_one(fault: str) -> None:
    if os.environ["RANK"] == "1":
        if fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise UserError("a file is broken")
    time.sleep(60)


def until_told(folder: Path) -> None:
    told: list[int] = []
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN, "Ctrl-C is left to the launcher"
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    (folder / f"ready{os.environ['RANK']}").touch()
    while not told:
        time.sleep(0.02)
    (folder / f"saved{os.environ['RANK']}").touch()
