"""Which part of a training runs here: read from the variables that launchers set.

Three ways lead here. Nothing is set: this node alone trains. `NNODES`, `NODE_RANK`, `MASTER_ADDR` and
`MASTER_PORT` (torchrun's names), or one SLURM task a node: this process starts those of its node. `RANK`,
`WORLD_SIZE` and `LOCAL_RANK` (https://docs.pytorch.org/docs/stable/elastic/run.html), or one SLURM task a
GPU: a launcher has started every process, and this is one of them.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from configs.errors import UserError

HERE = "127.0.0.1"
SLURM_PORTS = range(20_000, 40_000)  # of these a job takes the one that its number gives
GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
SEVERAL = ("NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """This node among `nodes`, and where process 0 of all is met."""

    nodes: int = 1
    node: int = 0
    address: str = HERE
    port: int = 0  # 0: a free one of this node

    def variables(self, processes: int) -> list[dict[str, str]]:
        """What each process of this node finds in its environment, `processes` on every node."""
        port = str(self.port or _free_port())
        return [
            {
                "RANK": str(self.node * processes + local),
                "LOCAL_RANK": str(local),
                "WORLD_SIZE": str(self.nodes * processes),
                "LOCAL_WORLD_SIZE": str(processes),
                "MASTER_ADDR": self.address,
                "MASTER_PORT": port,
            }
            for local in range(processes)
        ]


def launched(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of this process where a launcher has started it as one of several; {} where not.

    Raises UserError, naming them, where some are missing or are no numbers.
    """
    found = {**_slurm(environment), **environment}
    if "RANK" not in found and "WORLD_SIZE" not in found:
        return {}
    if found.get("WORLD_SIZE") == "1":
        return {}
    _check(found, GROUP, ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"))
    if not 0 <= int(found["RANK"]) < int(found["WORLD_SIZE"]):
        raise UserError(f"RANK={found['RANK']}: must be below WORLD_SIZE={found['WORLD_SIZE']}")
    return {name: found[name] for name in GROUP}


def place_of(environment: Mapping[str, str]) -> Place:
    """This node's place. Raises UserError where a variable of several nodes is missing or senseless."""
    found = {**_slurm(environment), **environment}
    if found.get("NNODES", "1") == "1":
        _refuse_a_lone_batch_script(environment)
        if found.get("NODE_RANK", "0") != "0":
            raise UserError(f"NODE_RANK={found['NODE_RANK']} is set, but not NNODES; set the number of nodes")
        return Place()
    _check(found, SEVERAL, ("NNODES", "NODE_RANK", "MASTER_PORT"))
    nodes, node = int(found["NNODES"]), int(found["NODE_RANK"])
    if not 0 <= node < nodes:
        raise UserError(f"NODE_RANK={node}: must be below NNODES={nodes}, counted from 0")
    return Place(nodes, node, found["MASTER_ADDR"], int(found["MASTER_PORT"]))


def is_first(environment: Mapping[str, str]) -> bool:
    """Whether this is the first process of a training, or the one that starts it. Raises UserError."""
    if group := launched(environment):
        return group["RANK"] == "0"
    return place_of(environment).node == 0


def _check(found: Mapping[str, str], names: tuple[str, ...], numbers: tuple[str, ...]) -> None:
    if missing := [name for name in names if not found.get(name)]:
        having = ", ".join(name for name in names if found.get(name))
        raise UserError(f"{', '.join(missing)}: missing, while {having} is set; set every one, or none")
    for name in numbers:
        if not found[name].isascii() or not found[name].isdigit():
            raise UserError(f"{name}={found[name]}: must be a whole number")


def _slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """The usual variables by those of a SLURM step (https://slurm.schedmd.com/srun.html); {} outside one."""
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks == 1:
        return {}
    nodes = int(environment["SLURM_STEP_NUM_NODES"])
    port = SLURM_PORTS[int(environment["SLURM_JOB_ID"]) % len(SLURM_PORTS)]
    found = {"MASTER_ADDR": first_host(environment["SLURM_STEP_NODELIST"]), "MASTER_PORT": str(port)}
    if tasks == nodes:
        return {**found, "NNODES": str(nodes), "NODE_RANK": environment["SLURM_NODEID"]}
    return {
        **found,
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "WORLD_SIZE": str(tasks),
    }


def _refuse_a_lone_batch_script(environment: Mapping[str, str]) -> None:
    nodes = environment.get("SLURM_NNODES", "1")
    if nodes != "1" and "SLURM_STEP_NUM_TASKS" not in environment and "NNODES" not in environment:
        raise UserError(
            f"SLURM_NNODES={nodes}: this would train on the first node alone; start it on each with "
            "srun --ntasks-per-node=1 bash train.sh, or set NNODES=1"
        )


def first_host(nodes: str) -> str:
    """The first of SLURM's list of hosts, as `gpu[03-07,12],login1` is written: `gpu03`."""
    found = re.match(r"([^\[,]*)(?:\[(\w+)[^\]]*\])?([^,]*)", nodes)
    assert found is not None  # each part may be empty
    return "".join(part or "" for part in found.groups())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        port: int = probe.getsockname()[1]
        return port
