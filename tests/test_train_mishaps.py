"""What goes wrong while a grounder is fine-tuned is one line: full disks, spoilt checkpoints, settings."""

import json
import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from safetensors import SafetensorError

from configs.app import FOLDER, run_command
from configs.compose import as_settings, composer
from configs.errors import UserError
from data_prep.folders import alone_in
from data_prep.index.build import build_index
from data_prep.readers.tnllt import TNLLT
from models.config import GrounderConfig
from tests.objectives import cpu_strategy
from tests.test_export import write_video
from tests.test_sft import recipe_of, training
from tests.tiny_models import save_grounder
from train.__main__ import DOC, _identity, hold, main
from train.loop.checkpoints import RunState
from train.loop.identity import write_identity
from train.loop.state_files import saving
from train.sft.config import PairSource, SftRecipe, TuneSettings
from train.sft.model import check_model
from train.sft.objective import sft_trainer
from train.sft.plots import _plot_loss
from train.sft.sources import pair_plan, world_index

pytestmark = pytest.mark.usefixtures("without_plots")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mishaps")
    write_video(root / "data", "wide", (192, 108))
    build_index(TNLLT, root / "data", "all", root, workers=1)
    save_grounder(root / "model")
    return root


def one_line(fault: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(fault.value)
    return str(fault.value)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None, "a flipped bit"])
def test_a_spoilt_checkpoint_says_how_the_run_goes_on(
    folder: Path, tmp_path: Path, content: bytes | str | None
) -> None:
    changes: dict[str, Any] = {"pairs": 16, "evaluate": [], "checkpoint_every": 1}
    training(folder, tmp_path, **changes).run(stop_after=2)
    state = tmp_path / "checkpoints" / "step-00000002" / "state.pt"
    if isinstance(content, str):  # which torch.load would read as another weight
        whole = state.read_bytes()
        learned = torch.load(state, weights_only=True)["weights"].values()
        weight = next(each for each in learned if each.count_nonzero() and each.numel() > 8)
        place = whole.index(weight.numpy().tobytes()[:32])
        state.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    else:
        state.write_bytes(state.read_bytes()[:5000] if content is None else content)
    with pytest.raises(UserError, match=r"remove its folder: the run then resumes at step 1$") as fault:
        training(folder, tmp_path, **changes).run()
    assert one_line(fault).startswith(str(state))
    for path in state.parent.iterdir():
        path.unlink()
    state.parent.rmdir()
    run = training(folder, tmp_path, **changes)
    assert run.run() and run.step == 4


def test_the_only_checkpoint_spoilt_begins_anew(folder: Path, tmp_path: Path) -> None:
    training(folder, tmp_path, evaluate=[]).run(stop_after=1)
    run_state = tmp_path / "checkpoints" / "step-00000001" / "run_state.json"
    for content in ("{", "[1]", run_state.read_text().replace('"step": 1', '"step": 4')):
        run_state.write_text(content)
        with pytest.raises(UserError, match=r"remove its folder: the run then starts at step 0$"):
            training(folder, tmp_path, evaluate=[]).run()


def test_a_checkpoint_of_an_earlier_version_is_resumed(folder: Path, tmp_path: Path) -> None:
    run = training(folder, tmp_path, pairs=8, evaluate=[])
    run.run(stop_after=1)
    path = tmp_path / "checkpoints" / "step-00000001"
    (path / "run_state.json").unlink()
    old = {"step": 1, "unread": 3, "best": 0.5, "judged": 1, "strategy": "ddp", "processes": 1}
    (path / "standing.json").write_text(json.dumps(old))
    found = run.checkpoints.newest(run.strategy)
    assert found == RunState(1, 1, 0.5, "ddp", 1, {"unreadable": 3})
    assert training(folder, tmp_path, pairs=8, evaluate=[]).run()


def test_the_best_weights_are_kept_anew_where_they_are_gone(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training(folder, tmp_path, pairs=8, evaluate_every=1).run(stop_after=1)
    shutil.rmtree(tmp_path / "best")
    assert training(folder, tmp_path, pairs=8, evaluate_every=1).run()
    assert any("best: is missing" in line for line in caplog.messages) and (tmp_path / "best").is_dir()


@pytest.mark.parametrize("what", ["loss", "norm of the gradient"])
def test_what_is_no_number_ends_a_run_before_it_is_saved(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    run = training(folder, tmp_path, evaluate=[], checkpoint_every=1)
    if what == "loss":
        monkeypatch.setattr(
            run.strategy, "all_reduce_sum", lambda value: torch.as_tensor(value) * float("nan")
        )
        monkeypatch.setattr(run.objective.unreadable, "add", lambda *_: None)
    else:
        monkeypatch.setattr(run.strategy, "optimizer_step", lambda _: float("inf"))
    with pytest.raises(UserError, match=rf"{what} is (nan|inf) at step 0; lower recipe.learning_rate=0.01,"):
        run.run()
    assert run.checkpoints.steps() == []


def test_a_run_says_where_its_weights_are(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        training(folder, tmp_path, pairs=4).run()
        training(folder, tmp_path, pairs=4).run()
        training(folder, tmp_path / "unevaluated", pairs=4, evaluate=[]).run()
    ends = [line for line in caplog.messages if "model.checkpoint=" in line]
    best = re.escape(str(tmp_path / "best"))
    use = rf"weights \(IoU 0\.\d+\) in {best}: bash infer.sh model.checkpoint={best}$"
    assert len(ends) == 3 and re.match(f"finished after 1 steps; {use}", ends[0])
    assert re.match(f"was already finished after 1 steps; {use}", ends[1])
    assert ends[2].endswith(f"model.checkpoint={tmp_path / 'unevaluated' / 'final'}")


@pytest.mark.parametrize(
    "fault",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_whoever_writes(tmp_path: Path, fault: Exception) -> None:
    with (
        pytest.raises(UserError, match=r"x: cannot be written \(.*; free space") as told,
        saving(tmp_path / "x"),
    ):
        raise fault
    one_line(told)
    with pytest.raises(RuntimeError, match="something else"), saving(tmp_path / "x"):
        raise RuntimeError("something else")


def test_a_checkpoint_on_a_full_disk_is_one_line_and_leaves_the_older_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(folder, tmp_path, evaluate=[])
    run.run(stop_after=1)

    def full(*_: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"step-00000002: cannot be written"):
        run.checkpoints.save(RunState(2, -1, 0.0, "ddp", 1), run.strategy)
    assert run.checkpoints.steps() == [1]


@pytest.mark.parametrize(
    ("recipe", "trainer"),
    [
        ("nano_grounder", "train.scratch.grounder.train_grounder"),
        ("nano_mask_head", "train.scratch.mask_head.train_mask_head"),
        ("nano_lora", "train.launch.launch_sft"),
    ],
)
def test_a_training_that_is_refused_leaves_the_folder_of_another_as_it_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recipe: str,
    trainer: str,
) -> None:
    begun: list[Any] = []

    def train(*given: Any) -> int:
        begun.append(given)
        with pytest.raises(UserError, match="another run trains there"), alone_in(tmp_path, "trains"):
            pass
        return 0

    monkeypatch.setattr(trainer, train)

    def start(*keys: str) -> int:
        line = [f"recipe={recipe}", f"out={tmp_path}", "device=cpu", *keys]
        return run_command("train", main, DOC, line, hold=hold)

    with alone_in(tmp_path, "trains"):
        assert start() == 1
    assert "another run trains there; let it end first" in capsys.readouterr().err and not begun
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert start() == 0 and len(begun) == 1
    with composer("train", FOLDER) as composing:
        settings = as_settings(composing._compose([f"recipe={recipe}", f"out={tmp_path}"]))
    write_identity(tmp_path, _identity(settings, tmp_path))
    record = (tmp_path / "resolved.yaml").read_bytes()
    assert start("recipe.seed=7") == 1 and len(begun) == 1
    assert "holds a run of other settings (recipe.seed); take another out=" in capsys.readouterr().err
    assert (tmp_path / "resolved.yaml").read_bytes() == record
    assert start() == 0 and len(begun) == 2


def test_a_part_must_learn(folder: Path) -> None:
    with pytest.raises(UserError, match=r"recipe.tune.parts=\[\]: there would be no trainable parameters"):
        check_model(SftRecipe(tune=TuneSettings(parts=[])), GrounderConfig(str(folder / "model")))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (PairSource(split="tran"), "recipe.train_data.split=tran: the rendered world has train, val, test"),
        (
            PairSource(weights=[1.0]),
            "recipe.train_data.weights, recipe.train_data.splits: are for recipe.train_data.data=",
        ),
    ],
)
def test_settings_of_the_rendered_world_are_named_whole(
    tmp_path: Path, source: PairSource, said: str
) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        pair_plan(source, 0, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_evaluation_set_is_named(folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(folder)
    recipe = replace(recipe, evaluate=[recipe.evaluate[0], PairSource(split="tset")])
    with pytest.raises(UserError, match=r"recipe\.evaluate\.1\.split=tset"):
        sft_trainer(
            recipe,
            GrounderConfig(str(folder / "model")),
            tmp_path / "run",
            cpu_strategy(),
        )


def test_a_rendered_video_that_cannot_be_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = PairSource(videos=2, world="plain")
    world_index(source, tmp_path)
    (index,) = tmp_path.glob("*/*.arrow")
    index.unlink()
    spoilt = sorted(tmp_path.glob("*/train/*"))[0]
    (spoilt / "groundtruth.txt").write_text("no box\n")
    world_index(source, tmp_path)
    assert any(f"{spoilt.name} left out: " in line for line in caplog.messages)


def test_a_single_row_of_the_loss_is_seen() -> None:
    axes = Figure().subplots()
    _plot_loss(axes, [{"step": 4, "loss": 0.1}])
    assert axes.lines[0].get_marker() == "."  # a line of one point is nothing
