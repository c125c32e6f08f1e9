"""The process group of a training, and the strategy by which its processes share the work."""

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
from train.loop.deepspeed import DeepSpeedStrategy, StepSettings, deepspeed_config
from train.loop.strategies import DDPStrategy, Strategy

# How long a process waits for another one, which may be evaluating or rendering videos.
TIMEOUT = timedelta(hours=2)


def create_strategy(
    settings: StepSettings | None,
    name: str,
    deepspeed: Path | None,
    device: torch.device,
    dtype: torch.dtype,
    accelerator_options: Mapping[str, Any] | None = None,
) -> Strategy:
    """Join the process group, if there is one, and make the strategy of `launch.strategy=name`.

    `deepspeed` is the path of a DeepSpeed JSON (zero2 and zero3 only). With `dtype` bfloat16 the model
    computes in mixed precision. `accelerator_options` are further arguments of the `Accelerator`. Raises
    UserError for settings that exclude each other.
    """
    if dtype == torch.float16:
        raise UserError("model.dtype=float16: its range is too small for gradients; take bfloat16 or float32")
    # 1. The GPU of this process, before anything allocates memory on another one.
    if device.type == "cuda":
        set_cuda_device(device)
    # 2. The process group. DeepSpeed and FSDP need one even for a single process.
    #    A test or a notebook may have made one already.
    needs_group = int(os.environ.get("WORLD_SIZE", "1")) > 1 or name != "ddp"
    if needs_group and not distributed.is_initialized():
        _init_process_group(name, device)
    # 3. The accelerator. `gradient_as_bucket_view`: DDP otherwise keeps a second copy of the gradients.
    precision = "bf16" if dtype == torch.bfloat16 else "no"
    ddp_options = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=precision,
        kwargs_handlers=[ddp_options],
        **(accelerator_options or {}),
    )
    # 4. The strategy.
    if deepspeed is not None:
        assert settings is not None, "DeepSpeed needs the settings of a step"
        config = deepspeed_config(deepspeed, settings, accelerator.num_processes, precision)
        return DeepSpeedStrategy(accelerator, name, config)
    if name == "fsdp":
        from train.loop.fsdp import FSDPStrategy  # slow to import, and not needed otherwise

        return FSDPStrategy(accelerator)
    return DDPStrategy(accelerator)


def set_cuda_device(device: torch.device) -> None:
    """Select the GPU of this process: the one that `device` names, else the one of its local rank.

    Some launchers show each process only its own GPU, whatever its local rank. Accelerate and DeepSpeed take
    the GPU of LOCAL_RANK, so the variable is set to the index of the GPU.
    """
    index: int | None = device.index
    if index is None:
        index = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
    torch.cuda.set_device(index)
    if "LOCAL_RANK" in os.environ:
        os.environ["LOCAL_RANK"] = str(index)


def _init_process_group(name: str, device: torch.device) -> None:
    backend = "gloo" if device.type == "cpu" else "nccl"
    if not name.startswith("zero"):
        distributed.init_process_group(backend, timeout=TIMEOUT)
        return
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"  # read when deepspeed is imported
    import deepspeed

    if device.type == "cpu":
        # DeepSpeed would compile a kernel for shared memory, which gloo does not need.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # DeepSpeed's own function also prepares its communication layer.
    deepspeed.init_distributed(dist_backend=backend, timeout=TIMEOUT, verbose=False)


def destroy_process_group() -> None:
    """Leave the process group, if there is one. Call it when all processes are done."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
