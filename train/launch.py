"""How many processes a fine-tuning run starts on this node.

Settings that exclude each other are refused before any process is started.
"""

import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch

from configs.app import FOLDER
from configs.errors import UserError
from configs.launch.nodes import node_of, process_variables
from configs.launch.processes import launch_processes
from configs.terminal import counted
from models.config import GrounderConfig
from train.config import LaunchSettings
from train.sft.config import SftRecipe, TuneSettings
from train.sft.objective import train_sft


def launch_sft(
    settings: LaunchSettings, recipe: SftRecipe, model: GrounderConfig, out: Path, device: torch.device
) -> int:
    """Fine-tune in as many processes as the settings and the launcher say; the exit status.

    Raises UserError if they do not fit each other, the GPUs of this node, or the batch.
    """
    check_tune(recipe.tune, settings.strategy)
    arguments = (recipe, model, out, device, settings.strategy, deepspeed_path(settings))
    # 1. A launcher has started all processes, and this is one of them.
    if variables := process_variables(os.environ):
        check_launched(settings, os.environ)
        check_batch(recipe.batch, int(variables["WORLD_SIZE"]))
        os.environ.update(variables)
        # Every process logs to the same terminal.
        if variables["RANK"] != "0":
            logging.getLogger().setLevel(logging.WARNING)
        train_sft(*arguments)
        return 0
    # 2. Start the processes of this node.
    node, num_processes = node_of(os.environ), num_local_processes(settings, device)
    world_size = node.num_nodes * num_processes
    check_batch(recipe.batch, world_size)
    if world_size > 1:
        return launch_processes(train_sft, arguments, node.process_environments(num_processes))
    # 3. A single process is this one. DeepSpeed and FSDP need a process group even then.
    if settings.strategy != "ddp":
        os.environ.update(node.process_environments(1)[0])
    train_sft(*arguments)
    return 0


def refuse_several(settings: LaunchSettings, environment: Mapping[str, str]) -> None:
    """Raise UserError if several processes are wanted or were started for a recipe that trains in one."""
    if process_variables(environment):
        raise UserError(
            "WORLD_SIZE: a launcher has started several processes, and this recipe trains in one; start one"
        )
    if settings != LaunchSettings():
        raise UserError(
            "launch.*: this recipe trains in one process; leave these keys out, or take recipe=sft"
        )


def num_local_processes(settings: LaunchSettings, device: torch.device) -> int:
    """The number of processes of this node. Raises UserError if there are fewer GPUs."""
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
            f"device={device}: is one GPU, but launch.processes={settings.processes}; take device=cuda"
        )
    return settings.processes or (gpus if device.index is None else 1)


def check_launched(settings: LaunchSettings, environment: Mapping[str, str]) -> None:
    """Raise UserError if a launcher has started another number of processes than the settings name."""
    # SLURM and torchrun set the variable; other launchers may not, and are then trusted.
    started = environment.get("LOCAL_WORLD_SIZE", str(settings.processes))
    if settings.processes and int(started) != settings.processes:
        raise UserError(
            f"launch.processes={settings.processes}: a launcher has started {started} on this node; "
            "leave it out"
        )


def check_batch(batch: int, num_processes: int) -> None:
    """Raise UserError if the pairs of a step cannot be divided evenly among the processes."""
    if batch % num_processes:
        raise UserError(
            f"recipe.batch={batch}: cannot be divided evenly among {num_processes} processes; "
            f"take {max(1, batch // num_processes) * num_processes}"
        )


def check_tune(tune: TuneSettings, strategy: str) -> None:
    """Raise UserError for trainable parameters that a sharded strategy does not support."""
    if tune.tokens and strategy == "zero3":
        raise UserError(
            "launch.strategy=zero3: new tokens (recipe.tune.tokens) cannot be added to sharded embeddings; "
            "take fsdp or zero2"
        )
    if tune.method == "qlora" and strategy in ("zero3", "fsdp"):
        raise UserError(
            f"launch.strategy={strategy}: weights in four bits (recipe.tune.method=qlora) cannot be sharded; "
            "take ddp or zero2, or recipe.tune.method=lora"
        )


def deepspeed_path(settings: LaunchSettings) -> Path | None:
    """The DeepSpeed JSON of these settings, None without DeepSpeed. Raises UserError if it is missing."""
    if not settings.strategy.startswith("zero"):
        if settings.deepspeed:
            raise UserError("launch.deepspeed: needs launch.strategy=zero2 or zero3; leave it out")
        return None
    if find_spec("deepspeed") is None:
        raise UserError(f"launch.strategy={settings.strategy}: needs deepspeed; pip install -e '.[train]'")
    path = Path(settings.deepspeed or FOLDER / "deepspeed" / f"{settings.strategy}.json")
    if not path.is_file():
        raise UserError(f"launch.deepspeed={path}: no such file; name a DeepSpeed JSON")
    return path
