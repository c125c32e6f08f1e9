"""Joining the processes of a training, before anything is loaded."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import distributed

from configs.errors import UserError
from train.sft.config import SftRecipe
from train.sft.split import Split
from train.sft.spread import Copies

PATIENCE = timedelta(hours=2)  # a process waits so long for another, which may be judging or drawing videos


def join(
    recipe: SftRecipe,
    strategy: str,
    deepspeed: Path | None,
    device: torch.device,
    dtype: torch.dtype,
    told: Mapping[str, Any] | None = None,
) -> Copies:
    """Meet the other processes, and say how weights lie on them; `deepspeed` is the json of zero2 and zero3.

    With weights of `dtype` bfloat16 the arithmetic is in it too. `told` goes to the `Accelerator`, as what
    it reports to.

    Raises UserError where that is senseless.
    """
    if dtype == torch.float16:
        raise UserError("model.dtype=float16: gradients do not fit into it; take bfloat16 or float32")
    if device.type == "cuda":
        take_gpu(device)
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1 or strategy != "ddp"
    if together and not distributed.is_initialized():
        _meet(strategy, device)
    precision = "bf16" if dtype == torch.bfloat16 else "no"
    copies = DistributedDataParallelKwargs(gradient_as_bucket_view=True)  # else gradients are held twice
    accelerator = Accelerator(
        cpu=device.type == "cpu", mixed_precision=precision, kwargs_handlers=[copies], **(told or {})
    )
    if deepspeed is None:
        return _sharded(accelerator) if strategy == "fsdp" else Copies(accelerator)
    from train.sft.zero import Zero, zero_config

    ranks = accelerator.num_processes
    split = Split(recipe.batch, recipe.micro_batch, accelerator.process_index, ranks)
    return Zero(accelerator, strategy, zero_config(deepspeed, recipe, split, precision))


def take_gpu(device: torch.device) -> None:
    """Let this process work on its GPU: the one that is named, else that of its place on the node.

    Some launchers show each process its own GPU alone, whatever its place. Accelerate and DeepSpeed go by
    LOCAL_RANK, so it names the GPU from here on.
    """
    index: int | None = device.index
    if index is None:
        index = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
    torch.cuda.set_device(index)
    if "LOCAL_RANK" in os.environ:
        os.environ["LOCAL_RANK"] = str(index)


def _meet(strategy: str, device: torch.device) -> None:
    backend = "gloo" if device.type == "cpu" else "nccl"
    if not strategy.startswith("zero"):
        distributed.init_process_group(backend, timeout=PATIENCE)
        return
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"  # read when deepspeed is imported
    import deepspeed

    if device.type == "cpu":  # it would compile kernels of its own, which gloo does without
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=backend, timeout=PATIENCE, verbose=False)


def leave() -> None:
    """Part from the other processes, when all are done."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _sharded(accelerator: Accelerator) -> Copies:
    from train.sft.shards import Shards

    return Shards(accelerator)
