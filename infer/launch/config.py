"""The settings of the processes of a run, the Hydra group `launch`. Imports neither torch nor Ray."""

from dataclasses import dataclass
from importlib.util import find_spec

from configs.errors import UserError
from configs.schema import key


@dataclass(frozen=True)
class LaunchConfig:
    """How many processes track the sequences of a run. These keys belong to every option of `launch=`."""

    attempts: int = key(
        3,
        "how many processes may end unexpectedly while they track a sequence, before the sequence fails",
        minimum=1,
    )


@dataclass(frozen=True)
class LocalLaunchConfig(LaunchConfig):
    """Processes of this machine (`launch=local`)."""

    processes: int | None = key(
        None,
        "processes that track sequences at once; null: one for each GPU, and one on a CPU, for device=cuda:N "
        "and for model.device_map=auto. A single process is the one that was started",
        minimum=1,
    )


@dataclass(frozen=True)
class RayLaunchConfig(LaunchConfig):
    """Processes of a Ray cluster, whose machines share a disk (`launch=ray`)."""

    processes: int | None = key(
        None,
        "processes that track sequences at once; null: as many as the GPUs of the cluster suffice for, or "
        "its CPUs if it has no GPU",
        minimum=1,
    )
    address: str | None = key(
        None,
        "host:port of the cluster; null: that of the variable RAY_ADDRESS, or the cluster that this machine "
        "belongs to, or else a cluster of this machine alone, which is started for the run",
    )
    cpus: float = key(1.0, "CPUs that Ray reserves for each process", minimum=0.0)
    gpus: float | None = key(
        None,
        "GPUs that Ray reserves for each process; null: 1 if the cluster has GPUs and device= is not cpu; "
        "0.5: two processes share a GPU; more than 1 goes with model.device_map=auto",
        minimum=0.0,
    )


LAUNCHERS = {"local": LocalLaunchConfig(), "ray": RayLaunchConfig()}
"""The options of `launch=`."""


def check_launch(launch: LaunchConfig) -> None:
    """Raise UserError if Ray is asked for and not installed."""
    if isinstance(launch, RayLaunchConfig) and find_spec("ray") is None:
        raise UserError("launch=ray: needs the package ray; pip install -e '.[ray]', or take launch=local")
