"""Where the processes of a training run, and what is refused before any is started."""

import os
from pathlib import Path

import pytest
import torch

from configs.errors import UserError
from configs.launch.nodes import Node, first_slurm_host, node_of, process_variables
from train.config import LaunchSettings
from train.launch import (
    check_batch,
    check_launched,
    check_tune,
    deepspeed_path,
    num_local_processes,
    refuse_several,
)
from train.loop.process_group import set_cuda_device
from train.sft.config import TuneSettings

pytestmark = pytest.mark.usefixtures("without_plots")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SEVERAL = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}
GROUP = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}
STEP = {
    "SLURM_JOB_ID": "41",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NODELIST": "gpu[03-04],x",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}


def test_a_node_alone_counts_its_own_processes() -> None:
    one, other = node_of({}).process_environments(2)
    assert (one["RANK"], other["RANK"], other["LOCAL_RANK"], other["WORLD_SIZE"]) == ("0", "1", "1", "2")
    assert one["MASTER_PORT"] == other["MASTER_PORT"] != "0"


def test_the_second_node_counts_on() -> None:
    node = node_of(SEVERAL)
    assert node == Node(2, 1, "a", 29500)
    assert [each["RANK"] for each in node.process_environments(4)] == ["4", "5", "6", "7"]
    assert {each["WORLD_SIZE"] for each in node.process_environments(4)} == {"8"}


def test_a_process_of_a_launcher_starts_no_other() -> None:
    assert process_variables({}) == {} and process_variables({"RANK": "0", "WORLD_SIZE": "1"}) == {}
    assert process_variables(GROUP | {"HOME": "/"}) == GROUP


@pytest.mark.parametrize("name", SEVERAL)
def test_a_missing_variable_of_several_nodes_is_named(name: str) -> None:
    if name == "NNODES":
        with pytest.raises(UserError, match="NODE_RANK=1 is set, but not NNODES"):
            node_of({key: value for key, value in SEVERAL.items() if key != name})
    else:
        with pytest.raises(UserError, match=f"^{name}: missing, while NNODES"):
            node_of({key: value for key, value in SEVERAL.items() if key != name})


@pytest.mark.parametrize("name", GROUP)
def test_a_missing_variable_of_a_process_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name}: missing"):
        process_variables({key: value for key, value in GROUP.items() if key != name})


@pytest.mark.parametrize("name, value", [("NODE_RANK", "2"), ("NODE_RANK", "-1"), ("MASTER_PORT", "x")])
def test_senseless_variables_are_named(name: str, value: str) -> None:
    with pytest.raises(UserError, match=f"^{name}={value}: must be"):
        node_of(SEVERAL | {name: value})


def test_one_slurm_task_a_node_starts_that_nodes_processes() -> None:
    assert process_variables(STEP) == {}
    assert node_of(STEP) == Node(2, 1, "gpu03", 20_041)
    assert node_of(STEP | {"MASTER_PORT": "1"}).master_port == 1


def test_one_slurm_task_a_gpu_is_a_process() -> None:
    group = process_variables(STEP | {"SLURM_STEP_NUM_TASKS": "8"})
    assert group == {
        "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "MASTER_ADDR": "gpu03", "MASTER_PORT": "20041",
    }  # fmt: skip


def test_a_batch_script_on_several_nodes_is_told_to_use_srun() -> None:
    with pytest.raises(UserError, match=r"SLURM_NNODES=2: .* srun"):
        node_of({"SLURM_NNODES": "2"})
    assert node_of({"SLURM_NNODES": "2", "NNODES": "1"}) == Node()


@pytest.mark.parametrize(
    "nodes, first",
    [("n1", "n1"), ("a1,b2", "a1"), ("gpu[03-07,12],x", "gpu03"), ("r[1,4]n0", "r1n0"), ("a-b[9]", "a-b9")],
)
def test_the_first_of_slurms_hosts(nodes: str, first: str) -> None:
    assert first_slurm_host(nodes) == first


def test_one_process_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert num_local_processes(LaunchSettings(), CUDA) == 4
    assert num_local_processes(LaunchSettings(processes=2), CUDA) == 2
    assert num_local_processes(LaunchSettings(), torch.device("cuda:1")) == 1
    assert num_local_processes(LaunchSettings(), CPU) == 1
    with pytest.raises(UserError, match=r"launch.processes=5: this node has 4 GPUs"):
        num_local_processes(LaunchSettings(processes=5), CUDA)
    with pytest.raises(UserError, match="device=cuda:1: is one GPU"):
        num_local_processes(LaunchSettings(processes=2), torch.device("cuda:1"))


def test_a_recipe_of_one_process_is_refused_under_a_launcher() -> None:
    refuse_several(LaunchSettings(), {})
    refuse_several(LaunchSettings(), {"WORLD_SIZE": "1", "RANK": "0"})
    with pytest.raises(UserError, match="started several processes, and this recipe trains in one"):
        refuse_several(LaunchSettings(), GROUP)
    with pytest.raises(UserError, match=r"launch\.\*: this recipe trains in one process"):
        refuse_several(LaunchSettings(processes=2), {})


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe.batch=32: .* 3 processes; take 30"):
        check_batch(32, 3)
    with pytest.raises(UserError, match=r"launch.processes=4: a launcher has started 8"):
        check_launched(LaunchSettings(processes=4), {"LOCAL_WORLD_SIZE": "8"})
    with pytest.raises(UserError, match=r"launch.deepspeed: needs"):
        deepspeed_path(LaunchSettings(deepspeed="x.json"))
    with pytest.raises(UserError, match=r"x.json: no such file"):
        deepspeed_path(LaunchSettings(strategy="zero2", deepspeed="x.json"))
    for strategy in ("zero3", "fsdp"):
        with pytest.raises(UserError, match=rf"launch.strategy={strategy}: .* take ddp or zero2"):
            check_tune(TuneSettings("qlora"), strategy)
        check_tune(TuneSettings("lora"), strategy)
    check_tune(TuneSettings("qlora"), "zero2")
    with pytest.raises(UserError, match=r"new tokens .* take fsdp or zero2"):
        check_tune(TuneSettings(tokens=["<ref>"]), "zero3")
    assert deepspeed_path(LaunchSettings(strategy="zero3")).is_file()


@pytest.mark.parametrize(
    ("device", "place", "gpus", "taken"),
    [
        ("cuda", None, 4, 0),
        ("cuda:3", None, 4, 3),
        ("cuda:3", "0", 4, 3),
        ("cuda", "3", 4, 3),
        ("cuda", "3", 1, 0),
    ],
)
def test_a_process_takes_the_gpu_that_is_named_or_its_own(
    monkeypatch: pytest.MonkeyPatch, device: str, place: str | None, gpus: int, taken: int
) -> None:
    told: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", told.append)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if place is not None:
        monkeypatch.setenv("LOCAL_RANK", place)
    set_cuda_device(torch.device(device))
    assert told == [taken] and os.environ.get("LOCAL_RANK") == (None if place is None else str(taken))
