"""TensorBoard, W&B or trackio beside `metrics.jsonl`, through accelerate's trackers."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from configs.errors import UserError

PROJECT = "refertrack"


def tracked(names: Sequence[str], out: Path) -> dict[str, Any]:
    """What an `Accelerator` is told of the trackers it is to report to; their files lie in `out`.

    Raises UserError for one that is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise UserError(
                f"recipe.report_to=[{name}]: is not installed; pip install {name}, or leave it out"
            )
    if not names:
        return {}
    return {
        "log_with": list(names),
        "project_config": ProjectConfiguration(str(out), str(out / "tensorboard")),
    }


def begin(accelerator: Accelerator, name: str, out: Path, settings: Mapping[str, Any]) -> None:
    """Open the trackers, if there are any, and tell them the settings."""
    told = {"wandb": {"name": name, "dir": str(out)}, "trackio": {"name": name}}
    accelerator.init_trackers(PROJECT, config=flat(settings), init_kwargs=told)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, int | float | str | bool]:
    """Settings by dotted key, lists as texts: TensorBoard takes nothing deeper."""
    found: dict[str, int | float | str | bool] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value if isinstance(value, int | float | str) else str(value)
    return found


def numbers_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a row of `metrics.jsonl`, by what they are of: training, or a set of pairs judged on."""
    kind = row.get("judged", "train")
    return {
        f"{kind}/{name}": float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and name != "step"
    }
