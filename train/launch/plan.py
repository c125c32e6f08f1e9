"""How many processes a run of these settings starts here; what cannot be is refused before any is started."""

import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch

from configs.app import FOLDER
from configs.errors import UserError
from configs.terminal import counted
from models.config import GrounderConfig
from train.launch.config import LaunchSettings
from train.launch.nodes import launched, place_of
from train.launch.processes import run_together
from train.sft.config import SftRecipe, TuneSettings
from train.sft.engine import train_sft


def launch_sft(
    settings: LaunchSettings, recipe: SftRecipe, model: GrounderConfig, out: Path, device: torch.device
) -> int:
    """Fine-tune in as many processes as the settings and the launcher say; the exit status.

    Raises UserError where they do not fit each other, the GPUs of this node, or the batch.
    """
    check_tune(recipe.tune, settings.strategy)
    given = (recipe, model, out, device, settings.strategy, config_path(settings))
    if group := launched(os.environ):
        check_launched(settings, os.environ)
        check_batch(recipe.batch, int(group["WORLD_SIZE"]))
        os.environ.update(group)
        if group["RANK"] != "0":
            logging.getLogger().setLevel(logging.WARNING)
        train_sft(*given)
        return 0
    place, processes = place_of(os.environ), processes_of(settings, device)
    check_batch(recipe.batch, place.nodes * processes)
    if place.nodes * processes > 1:
        return run_together(train_sft, given, place.variables(processes))
    if settings.strategy != "ddp":  # it wants a group of processes, be it of one
        os.environ.update(place.variables(1)[0])
    train_sft(*given)
    return 0


def refuse_several(settings: LaunchSettings) -> None:
    """Raise UserError where several processes are wanted of a recipe that trains in one."""
    if settings != LaunchSettings():
        raise UserError(
            "launch.*: this recipe trains in one process; leave these keys out, or take recipe=sft"
        )


def processes_of(settings: LaunchSettings, device: torch.device) -> int:
    """Processes of this node. Raises UserError where more are wanted than there are GPUs."""
    if device.type != "cuda":
        return settings.processes or 1
    gpus = torch.cuda.device_count()
    if settings.processes > gpus:
        raise UserError(
            f"launch.processes={settings.processes}: this node has {counted(gpus, 'GPU')}; "
            "take at most as many"
        )
    if device.index is not None and settings.processes > 1:
        raise UserError(
            f"device={device}: one GPU, for launch.processes={settings.processes}; take device=cuda"
        )
    return settings.processes or (gpus if device.index is None else 1)


def check_launched(settings: LaunchSettings, environment: Mapping[str, str]) -> None:
    """Raise UserError where a launcher has started another number of processes than the settings name."""
    here = environment.get("LOCAL_WORLD_SIZE", str(settings.processes))
    if settings.processes and int(here) != settings.processes:
        raise UserError(
            f"launch.processes={settings.processes}: a launcher has started {here} on this node; leave it out"
        )


def check_batch(batch: int, processes: int) -> None:
    """Raise UserError where a step's pairs cannot be shared evenly."""
    if batch % processes:
        raise UserError(
            f"recipe.batch={batch}: {processes} processes do not share it evenly; "
            f"take {max(1, batch // processes) * processes}"
        )


def check_tune(tune: TuneSettings, strategy: str) -> None:
    """Raise UserError for what cannot learn where weights lie in shares."""
    if tune.tokens and strategy == "zero3":
        raise UserError(
            "launch.strategy=zero3: new tokens (recipe.tune.tokens) cannot be added to weights in shares; "
            "take fsdp or zero2"
        )
    if tune.method == "qlora" and strategy in ("zero3", "fsdp"):
        raise UserError(
            f"launch.strategy={strategy}: weights in four bits (recipe.tune.method=qlora) cannot lie in "
            "shares; take ddp or zero2, or recipe.tune.method=lora"
        )


def config_path(settings: LaunchSettings) -> Path | None:
    """The DeepSpeed json of these settings, None without DeepSpeed. Raises UserError where it is lacking."""
    if not settings.strategy.startswith("zero"):
        if settings.deepspeed:
            raise UserError("launch.deepspeed: goes with launch.strategy=zero2 or zero3; leave it out")
        return None
    if find_spec("deepspeed") is None:
        raise UserError(f"launch.strategy={settings.strategy}: needs deepspeed; pip install -e '.[train]'")
    path = Path(settings.deepspeed or FOLDER / "deepspeed" / f"{settings.strategy}.json")
    if not path.is_file():
        raise UserError(f"launch.deepspeed={path}: no such file; name a DeepSpeed json")
    return path
