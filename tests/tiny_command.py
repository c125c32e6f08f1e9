"""A command as small as can be, with every kind of key; run as a program it takes the folder of its YAML."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from configs.app import register, run_command
from configs.errors import UserError
from configs.schema import key

DOC = "Do next to nothing."


@dataclass(frozen=True)
class Part:
    """An entry of a list."""

    preset: str = key("flat", "which world", choices=("flat", "hilly"))


@dataclass(frozen=True)
class Model:
    """What a YAML file of the group `model` sets."""

    checkpoint: str | None = key(None, "where the weights lie")
    size: int = key(1, "how large", minimum=1, maximum=9)

    def __post_init__(self) -> None:
        """What no bound can say."""
        if self.size == 4 and self.checkpoint is None:
            raise UserError("model.size=4: needs a checkpoint; give model.checkpoint=...")


@dataclass(frozen=True)
class Plain:
    """One tracker."""

    every: int = key(1, "how often")


@dataclass(frozen=True)
class Deep:
    """Another, with a key of its own."""

    depth: int = key(2, "how deep")


@dataclass(frozen=True)
class Tiny:
    """All settings."""

    out: str = key("results/${tracker_id}", "folder of the results")
    tracker_id: str = key("demo", "name of the results")
    prompt: str | None = key(None, "what to follow")
    title: str = key("", "free text that is never null")
    betas: tuple[float, float] = key((0.9, 0.95), "of the optimizer")
    status: int = key(0, "exit status")
    fault: str = key("none", "what goes wrong", choices=("none", "user", "bug", "interrupt", "long_name"))
    plugins: list[str] = key([], "files to import first")
    parts: list[Part] = key([Part(), Part("hilly")], "in order")
    model: Model = key(Model(), "who answers")
    tracker: Any = key(MISSING, "who asks")


TRACKERS: dict[str, Any] = {"plain": Plain(), "deep": Deep()}


def register_settings() -> None:
    """Let Hydra know the settings, with the trackers that there are now."""
    register("tiny", Tiny, {"tracker": TRACKERS})


register_settings()


def main(settings: Tiny) -> int:
    """Fail as told, or return the status that was asked for."""
    logging.getLogger("a.library").info("chatter")
    if settings.fault == "user":
        raise UserError("clip.mp4: no such video")
    if settings.fault == "bug":
        raise ZeroDivisionError("a bug")
    if settings.fault == "long_name":
        Path("n" * 300).is_file()
    if settings.fault == "interrupt":
        raise KeyboardInterrupt
    return settings.status


if __name__ == "__main__":
    folder, *arguments = sys.argv[1:]
    sys.exit(run_command("tiny", main, DOC, arguments, Path(folder)))
