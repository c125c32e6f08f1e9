"""Two processes learn what one does, whatever each of them holds; killed and stopped runs go on."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as sharded
from peft import PeftModel
from safetensors.torch import load_file
from transformers import Qwen2_5_VLForConditionalGeneration

from configs.errors import UserError
from data_prep.index.build import build_index
from data_prep.readers.tnllt import TNLLT
from models.config import GrounderConfig
from models.grounder.grounder import Grounder
from tests.forkserver import FORKSERVER
from tests.objectives import cpu_strategy
from tests.sft_work import (
    adam_with_eps_above_rounding,
    fork_processes,
    recipe_of,
    train_by,
    train_in_half,
    training_of,
)
from tests.test_export import write_video
from tests.tiny_models import save_grounder
from train.loop.checkpoints import Checkpoints
from train.loop.deepspeed import deepspeed_config
from train.loop.metrics import Metrics
from train.sft.objective import sft_trainer

pytestmark = pytest.mark.usefixtures("without_plots")

ROOT = Path(__file__).resolve().parent.parent
STRATEGIES = ["zero2", "zero3", "fsdp"]
ALL_STRATEGIES = ["ddp", *STRATEGIES]
FINAL = {"lora": "adapter_model.safetensors", "full": "model.safetensors"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spread")
    for name, size in {"wide": (192, 108), "tall": (80, 160)}.items():
        write_video(root / "data", name, size)
    build_index(TNLLT, root / "data", "all", root, workers=1)
    save_grounder(root / "model")
    return root


@pytest.fixture(scope="module")
def runs(folder: Path) -> Path:
    """One process, and two by each strategy that were stopped and went on."""
    out = folder / "runs"
    with adam_with_eps_above_rounding():
        for method in FINAL:
            training_of(folder, out / f"one-{method}", "ddp", recipe_of(folder, method)).run()
    fork_processes(train_by, (STRATEGIES, folder, out), 2)
    return out


def figures(out: Path, name: str) -> list[float]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


@pytest.mark.parametrize("method", FINAL)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_learn_what_one_does(runs: Path, strategy: str, method: str) -> None:
    one, two = runs / f"one-{method}", runs / f"{strategy}-{method}"
    for name in ("loss", "norm", "iou", "pairs"):
        assert figures(two, name) == pytest.approx(figures(one, name), rel=1e-4, abs=1e-6)
    assert len(figures(two, "loss")) == 5 and max(figures(one, "norm")) > 0.5
    wanted, got = (load_file(out / "final" / FINAL[method]) for out in (one, two))
    assert wanted.keys() == got.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(got[name], weight, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_was_gathered_loads_again(folder: Path, runs: Path, strategy: str) -> None:
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.float32)
    adapters = PeftModel.from_pretrained(base, str(runs / f"{strategy}-lora" / "final"))
    moved = [weight for name, weight in adapters.named_parameters() if "lora_B" in name]
    assert moved and all(float(weight.abs().max()) > 0 for weight in moved)
    for method in FINAL:
        Grounder.load(GrounderConfig(str(runs / f"{strategy}-{method}" / "final")), torch.device("cpu"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_checkpoints_are_without_frozen_weights(runs: Path, strategy: str) -> None:
    shards = newest(runs / f"{strategy}-lora") / "shards"
    if strategy == "fsdp":
        held = sharded.FileSystemReader(shards).read_metadata().state_dict_metadata
        names = [name for name in held if name.startswith("weights.")]
    else:
        files = [torch.load(path, weights_only=False) for path in shards.glob("*model_states.pt")]
        names = [name for file in files for name in file["module"]]
    assert len(names) >= 34 and all("lora_" in name for name in names)


@pytest.fixture(scope="module")
def half_runs(folder: Path) -> Path:
    """Runs in bfloat16 of one process, by each strategy."""
    out = folder / "half"
    fork_processes(train_in_half, (ALL_STRATEGIES, folder, out), 1)
    return out


def test_models_in_bfloat16_learn_alike_by_each_strategy(half_runs: Path) -> None:
    for method in FINAL:
        wanted, *others = (figures(half_runs / f"{each}-{method}", "loss") for each in ALL_STRATEGIES)
        assert len(wanted) == 2
        assert all(losses == pytest.approx(wanted, rel=2e-2) for losses in others)
        first, *rest = (
            load_file(half_runs / f"{each}-{method}" / "final" / FINAL[method]) for each in ALL_STRATEGIES
        )
        if method == "lora":  # ZeRO gathers adapters in bfloat16
            first, *rest = (
                {name: weight.float() for name, weight in each.items()} for each in (first, *rest)
            )
        kinds = {name: weight.dtype for name, weight in first.items()}
        assert all({name: weight.dtype for name, weight in each.items()} == kinds for each in rest)


def test_sharded_weights_are_saved_alike_after_an_answer(half_runs: Path) -> None:
    """Some would else be those that were rounded to answer."""
    before, after = (load_file(half_runs / "answer" / each / FINAL["lora"]) for each in ("before", "after"))
    assert before and all(torch.equal(after[name], weight) for name, weight in before.items())
    assert {weight.dtype for weight in after.values()} == {torch.float32}


def newest(out: Path) -> Path:
    return max((out / "checkpoints").glob("step-*"))


def test_other_processes_cannot_go_on_from_shares(folder: Path, runs: Path) -> None:
    strategy = cpu_strategy()
    with pytest.raises(
        UserError, match=r"with launch.strategy=zero2 by 2 processes and cannot be .*=ddp by 1;"
    ):
        Checkpoints(runs / "zero2-lora" / "checkpoints", 2).newest(strategy)


def test_a_deepspeed_file_leaves_to_the_recipe_what_it_says(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text('{"zero_optimization": {"stage": 2}, "gradient_clipping": 3}')
    with pytest.raises(UserError, match=r"own.json: gradient_clipping: set by the recipe"):
        deepspeed_config(path, recipe_of(folder), 1, "no")
    path.write_text("[")
    with pytest.raises(UserError, match=r"own.json: cannot be read"):
        deepspeed_config(path, recipe_of(folder), 1, "no")
    path.write_text('{"zero_optimization": {"stage": 2}}')
    made = deepspeed_config(path, replace(recipe_of(folder), micro_batch=3), 2, "bf16")
    assert made["gradient_accumulation_steps"] == 2 and made["bf16"] == {"enabled": True}


# ---- killed, stopped ---------------------------------------------------------------------------


def _train(folder: Path, out: Path) -> None:
    os.environ["WORLD_SIZE"] = "1"
    recipe = replace(recipe_of(folder), checkpoint_every=1, evaluate_every=2)
    training_of(folder, out, "ddp", recipe).run()


def test_a_run_killed_at_any_moment_goes_on_to_the_same_end(folder: Path, tmp_path: Path) -> None:
    _train(folder, tmp_path / "whole")
    chance, killed = random.Random(), 0
    for _ in range(6):  # a run of five steps is over in about a second
        child = FORKSERVER.Process(target=_train, args=(folder, tmp_path / "killed"))
        child.start()
        child.join(chance.uniform(0.05, 1.0))
        killed += child.is_alive()
        child.kill()
        child.join()
    assert killed
    _train(folder, tmp_path / "killed")
    for name in ("loss", "iou", "step"):
        assert figures(tmp_path / "killed", name) == figures(tmp_path / "whole", name)
    wanted, got = (load_file(tmp_path / each / "final" / FINAL["lora"]) for each in ("whole", "killed"))
    assert all(torch.equal(got[name], weight) for name, weight in wanted.items())
    left = [path.name for path in (tmp_path / "killed").rglob("*") if path.name.startswith((".part", ".old"))]
    assert not left


SLOWLY = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.launched_work import train_slowly
from configs.launch.nodes import Node
from configs.launch.processes import launch_processes
from configs.launch.signals import Stopped
if __name__ == "__main__":
    try:
        environments = Node().process_environments(2)
        sys.exit(launch_processes(train_slowly, (Path({folder!r}), Path({out!r})), environments))
    except Stopped as stopped:
        sys.exit(stopped.status)
"""


def test_a_signal_to_the_whole_group_saves_once_and_is_no_failure(folder: Path, tmp_path: Path) -> None:
    script, out = tmp_path / "slowly.py", tmp_path / "run"
    script.write_text(SLOWLY.format(root=str(ROOT), folder=str(folder), out=str(out)))
    with (tmp_path / "said").open("w") as said:
        run = subprocess.Popen([sys.executable, script], cwd=ROOT, start_new_session=True, stderr=said)
        while not (out / "metrics.jsonl").is_file() or len(figures(out, "loss")) < 3:
            assert run.poll() is None, (tmp_path / "said").read_text()[-2000:]
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGTERM)
        assert run.wait(60) == 0, (tmp_path / "said").read_text()[-2000:]
    (step,) = Checkpoints(out / "checkpoints", 2).steps()
    assert step == len(figures(out, "loss")) and "Traceback" not in (tmp_path / "said").read_text()


def test_rows_of_steps_that_are_taken_again_are_forgotten(tmp_path: Path) -> None:
    rows = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 1.0}, {"step": 2, "eval_set": "x"}, {"step": 3}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for is_evaluated, kept in ((True, rows[:3]), (False, rows[:2])):
        (tmp_path / "metrics.jsonl").write_text(text + '{"st')
        Metrics(tmp_path, writes=True).resume(2, is_evaluated)
        assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()] == kept


def test_a_run_that_could_not_begin_does_not_take_its_folder(folder: Path, tmp_path: Path) -> None:
    for checkpoint in ("/nowhere", "model"):
        model = GrounderConfig(str(folder / checkpoint), dtype="float32")
        begin = partial(sft_trainer, recipe_of(folder), model, tmp_path, cpu_strategy())
        if checkpoint == "model":
            begin()
        else:
            with pytest.raises(UserError, match=r"no such folder"):
                begin()
