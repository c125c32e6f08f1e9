"""Settings of the processes of a training. Imports nothing heavy."""

from dataclasses import dataclass

from configs.schema import key

STRATEGIES = ("ddp", "zero2", "zero3", "fsdp")


@dataclass(frozen=True)
class LaunchSettings:
    """How many processes train on each node, and how the model is distributed over them."""

    processes: int = key(0, "processes on each node; 0: one for each GPU, or one on a CPU", minimum=0)
    strategy: str = key(
        "ddp",
        "ddp: each process holds everything; zero2: gradients and optimizer states are sharded; zero3 "
        "(DeepSpeed) and fsdp (PyTorch): parameters are sharded too",
        choices=STRATEGIES,
    )
    deepspeed: str = key(
        "", "strategy=zero2, zero3: path of a DeepSpeed JSON; empty: configs/deepspeed/<strategy>.json"
    )
