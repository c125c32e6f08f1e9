"""Which processes of a distributed run this one is, or has to start: read from the variables of launchers.

There are three cases:
1. No variable is set: the run has this node only.
2. `NNODES`, `NODE_RANK`, `MASTER_ADDR` and `MASTER_PORT` (torchrun's names) are set, or there is one SLURM
   task for each node: this process starts the processes of its node.
3. `RANK`, `WORLD_SIZE` and `LOCAL_RANK` (https://docs.pytorch.org/docs/stable/elastic/run.html) are set, or
   there is one SLURM task for each GPU: a launcher has started every process, and this is one of them.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from configs.errors import UserError

LOCALHOST = "127.0.0.1"
SLURM_PORTS = range(20_000, 40_000)  # a job takes the port that follows from its number
PROCESS_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
NODE_VARIABLES = ("NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Node:
    """One of `num_nodes` nodes, and the address at which all processes meet process 0."""

    num_nodes: int = 1
    rank: int = 0
    master_address: str = LOCALHOST
    master_port: int = 0  # 0: a free port of this node

    def process_environments(self, num_processes: int) -> list[dict[str, str]]:
        """The environment variables of each process of this node; every node has `num_processes`."""
        # One port for all processes: a free one is looked for once, before the first of them starts.
        port = str(self.master_port or _free_port())
        return [
            {
                # Ranks are numbered node by node, so all nodes must start the same number of processes.
                "RANK": str(self.rank * num_processes + local_rank),
                "LOCAL_RANK": str(local_rank),
                "WORLD_SIZE": str(self.num_nodes * num_processes),
                "LOCAL_WORLD_SIZE": str(num_processes),
                "MASTER_ADDR": self.master_address,
                "MASTER_PORT": port,
            }
            for local_rank in range(num_processes)
        ]


def process_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of this process if a launcher has started it as one of several; {} if not.

    Raises UserError, which names them, if some are missing or are not numbers.
    """
    found = {**_slurm_variables(environment), **environment}
    if "RANK" not in found and "WORLD_SIZE" not in found:
        return {}
    # One process alone meets no others, so the remaining variables do not matter.
    if found.get("WORLD_SIZE") == "1":
        return {}
    _check_variables(found, PROCESS_VARIABLES, ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"))
    if not 0 <= int(found["RANK"]) < int(found["WORLD_SIZE"]):
        raise UserError(f"RANK={found['RANK']}: must be below WORLD_SIZE={found['WORLD_SIZE']}")
    return {name: found[name] for name in PROCESS_VARIABLES}


def node_of(environment: Mapping[str, str]) -> Node:
    """This node. Raises UserError if a variable for several nodes is missing or invalid."""
    found = {**_slurm_variables(environment), **environment}
    if found.get("NNODES", "1") == "1":
        _refuse_batch_script_without_srun(environment)
        if found.get("NODE_RANK", "0") != "0":
            raise UserError(f"NODE_RANK={found['NODE_RANK']} is set, but not NNODES; set the number of nodes")
        return Node()
    _check_variables(found, NODE_VARIABLES, ("NNODES", "NODE_RANK", "MASTER_PORT"))
    num_nodes, rank = int(found["NNODES"]), int(found["NODE_RANK"])
    if not 0 <= rank < num_nodes:
        raise UserError(f"NODE_RANK={rank}: must be below NNODES={num_nodes}, counted from 0")
    return Node(num_nodes, rank, found["MASTER_ADDR"], int(found["MASTER_PORT"]))


def is_first_process(environment: Mapping[str, str]) -> bool:
    """Whether this is the first process of a run, or the one that starts it. Raises UserError."""
    if variables := process_variables(environment):
        return variables["RANK"] == "0"
    return node_of(environment).rank == 0


def _check_variables(found: Mapping[str, str], names: tuple[str, ...], numbers: tuple[str, ...]) -> None:
    if missing := [name for name in names if not found.get(name)]:
        present = ", ".join(name for name in names if found.get(name))
        raise UserError(f"{', '.join(missing)}: missing, while {present} is set; set all of them, or none")
    for name in numbers:
        # `isdigit` alone also accepts superscripts, which `int` refuses, and digits of other scripts.
        if not found[name].isascii() or not found[name].isdigit():
            raise UserError(f"{name}={found[name]}: must be a whole number")


def _slurm_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The same variables from those of a SLURM step (https://slurm.schedmd.com/srun.html); {} if none."""
    num_tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if num_tasks == 1:
        return {}
    num_nodes = int(environment["SLURM_STEP_NUM_NODES"])
    # Jobs may share a node, so each takes a port of its own; all tasks of a job compute the same one.
    port = SLURM_PORTS[int(environment["SLURM_JOB_ID"]) % len(SLURM_PORTS)]
    found = {
        "MASTER_ADDR": first_slurm_host(environment["SLURM_STEP_NODELIST"]),
        "MASTER_PORT": str(port),
    }
    # One task on each node starts the processes of its node. Otherwise there is one task for each GPU.
    if num_tasks == num_nodes:
        return {**found, "NNODES": str(num_nodes), "NODE_RANK": environment["SLURM_NODEID"]}
    return {
        **found,
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "WORLD_SIZE": str(num_tasks),
    }


def _refuse_batch_script_without_srun(environment: Mapping[str, str]) -> None:
    num_nodes = environment.get("SLURM_NNODES", "1")
    # `srun` sets the variables of a step; in a batch script that runs without it they are missing.
    if num_nodes != "1" and "SLURM_STEP_NUM_TASKS" not in environment and "NNODES" not in environment:
        raise UserError(
            f"SLURM_NNODES={num_nodes}: this would train on the first node only; start it on each node with "
            "srun --ntasks-per-node=1 bash train.sh, or set NNODES=1"
        )


def first_slurm_host(nodes: str) -> str:
    """The first host of a SLURM node list: `gpu03` of `gpu[03-07,12],login1`."""
    # The name up to a bracket, the first number in the brackets, and the rest of the name. The number
    # stays a text, since its leading zeros belong to the name.
    found = re.match(r"([^\[,]*)(?:\[(\w+)[^\]]*\])?([^,]*)", nodes)
    assert found is not None  # each part may be empty
    return "".join(part or "" for part in found.groups())


def _free_port() -> int:
    with socket.socket() as probe:
        # Port 0: the system chooses a free one. Another program could take it before process 0 binds it.
        probe.bind((LOCALHOST, 0))
        port: int = probe.getsockname()[1]
        return port
