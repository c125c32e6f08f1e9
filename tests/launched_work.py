"""What processes of tests do. It imports nothing heavy, since launchers import it as well."""

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


def train_slowly(folder: Path, out: Path) -> None:
    """Fine-tuning of many steps, with workers that read pictures, until it is told to stop."""
    from dataclasses import replace

    from tests.sft_work import recipe_of, training_of
    from train.loop.process_group import destroy_process_group

    recipe = replace(recipe_of(folder), pairs=4000, workers=1)
    training_of(folder, out, "ddp", recipe).run()
    destroy_process_group()


def until_told(folder: Path) -> None:
    told: list[int] = []
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN, "Ctrl-C is left to the launcher"
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    (folder / f"ready{os.environ['RANK']}").touch()
    while not told:
        time.sleep(0.02)
    (folder / f"saved{os.environ['RANK']}").touch()
