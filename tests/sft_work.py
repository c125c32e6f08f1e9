"""What processes of tests do that train."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState

from configs.launch.nodes import Node
from data_prep.sampling.settings import PairSettings
from models.config import GrounderConfig
from models.devices import DTYPES
from tests.forkserver import FORKSERVER
from train.config import LaunchSettings
from train.launch import deepspeed_path
from train.loop.process_group import create_strategy, destroy_process_group
from train.loop.trainer import Trainer
from train.sft.config import ContractSettings, PairSource, SftRecipe, TuneSettings
from train.sft.objective import SftObjective, sft_trainer


def recipe_of(folder: Path, method: str = "lora") -> SftRecipe:
    """Five steps of two micro-batches for each of two processes; `folder` holds the index of `tnllt`.

    Images keep their shapes, so the micro-batches of one step hold images of different sizes.
    """
    source = PairSource(data=["tnllt"], split="all", indexes=str(folder), pairs=PairSettings())
    return SftRecipe(
        tune=TuneSettings(method=method, rank=4, alpha=12, parts=["language_model", "vision_tower"]),
        contract=ContractSettings(search_tokens=24),
        train_data=source,
        evaluate=[source],
        pairs=40,
        batch=8,
        micro_batch=2,
        learning_rate=1e-2,
        # The first update of Adam has the same size for every gradient, also for one that is no larger than
        # its error of rounding. The warm-up makes that update small.
        warmup_ratio=0.6,
        max_grad_norm=0.5,
        evaluate_pairs=2,
        evaluate_every=100,
        log_every=1,
        workers=0,
    )


def training_of(
    folder: Path, out: Path, strategy: str, recipe: SftRecipe, dtype: str = "float32"
) -> Trainer[SftObjective]:
    """A training on the CPU, by one process or what a launcher has started."""
    deepspeed = deepspeed_path(LaunchSettings(strategy=strategy))
    held = create_strategy(recipe, strategy, deepspeed, torch.device("cpu"), DTYPES[dtype])
    model = GrounderConfig(str(folder / "model"), dtype=dtype)
    return sft_trainer(recipe, model, out, held)


@contextmanager
def adam_with_eps_above_rounding() -> Iterator[None]:
    """A block in which AdamW's default eps is larger than the rounding of gradients.

    Adam divides a gradient by its own size. With the usual eps of 1e-8 a gradient that is no more than an
    error of rounding moves its weight by a whole learning rate, in a direction that depends on the processor
    and on the order of sums.
    """
    init = torch.optim.AdamW.__init__
    usual = init.__defaults__
    assert usual is not None and usual[2] == 1e-8, "lr, betas, eps, ..."
    init.__defaults__ = (*usual[:2], 1e-5, *usual[3:])
    try:
        yield
    finally:
        init.__defaults__ = usual


def fork_processes(work: Callable[..., None], arguments: tuple[Any, ...], processes: int) -> None:
    """Call `work(*arguments)` in forked processes, with the variables of a launcher.

    `configs.launch.processes` starts new processes, each of which imports torch and transformers for seconds.
    """
    children = [
        FORKSERVER.Process(target=_forked, args=(environment, work, arguments))
        for environment in Node().process_environments(processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * processes


def _forked(environment: dict[str, str], work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.update(environment)
    AcceleratorState._reset_state(reset_partial_state=True)
    work(*arguments)
    destroy_process_group()


def _compile_nothing() -> None:
    """DeepSpeed compiles an all-reduce over shared memory at its first use on a CPU, which takes a minute."""
    import deepspeed.ops  # here, since it takes seconds

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def train_by(strategies: list[str], folder: Path, out: Path) -> None:
    """LoRA and full tuning by each strategy; LoRA's is stopped in between."""
    _compile_nothing()
    with adam_with_eps_above_rounding():
        for method in ("lora", "full"):
            for strategy in strategies:
                recipe = recipe_of(folder, method)
                for stop in (3, None) if method == "lora" else (None,):
                    training_of(folder, out / f"{strategy}-{method}", strategy, recipe).run(stop)


def train_in_half(strategies: list[str], folder: Path, out: Path) -> None:
    """LoRA and full tuning of a model in bfloat16, and `answer_and_save`: starting a process takes long."""
    _compile_nothing()
    for method in ("lora", "full"):
        for strategy in strategies:
            recipe = replace(recipe_of(folder, method), learning_rate=1e-3, evaluate=[], pairs=16)
            training_of(folder, out / f"{strategy}-{method}", strategy, recipe, "bfloat16").run()
    answer_and_save(folder, out / "answer")


def answer_and_save(folder: Path, out: Path) -> None:
    """By FSDP in bfloat16: what is saved after an answer, and what is held after a micro-batch."""
    recipe = recipe_of(folder)
    recipe = replace(recipe, evaluate_pairs=1, tune=replace(recipe.tune, parts=["projector"]))
    run = training_of(folder, out, "fsdp", recipe, "bfloat16")
    run.strategy.model.train()
    (batches,) = run.objective.batches(range(1))
    with run.strategy.accumulate(is_last=False):
        run.strategy.backward(run.strategy.model(batches[0]))
    assert all(weight.grad is not None for weight in run.strategy.parameters.values()), (
        "gradients are sharded"
    )
    run.objective.save_weights(out / "before", 0, {})
    run.objective.evaluator.evaluate(0)
    run.objective.save_weights(out / "after", 0, {})
