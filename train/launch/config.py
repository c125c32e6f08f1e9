"""Settings of the processes of a training. Imports nothing heavy."""

from dataclasses import dataclass

from configs.schema import key

STRATEGIES = ("ddp", "zero2", "zero3", "fsdp")


@dataclass(frozen=True)
class LaunchSettings:
    """How many processes train on each node, and what each of them holds."""

    processes: int = key(0, "processes of a node; 0: one a GPU, and one on a CPU", minimum=0)
    strategy: str = key(
        "ddp",
        "what a process holds: everything (ddp), its share of gradients and optimizer (zero2), "
        "of the weights as well (zero3 by DeepSpeed, fsdp by PyTorch)",
        choices=STRATEGIES,
    )
    deepspeed: str = key(
        "", "strategy=zero2, zero3: a DeepSpeed json of your own; empty: configs/deepspeed/<strategy>.json"
    )
