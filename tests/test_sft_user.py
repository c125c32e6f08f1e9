"""What a user of fine-tuning touches: merging, info, pictures, trackers, doubts, and sweeps."""

import json
import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from safetensors.torch import load_file

from configs.app import FOLDER, run_command
from configs.compose import as_settings, check, composer
from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN, contract_values
from data_prep.index.build import build_index
from data_prep.readers.tnllt import TNLLT
from data_prep.sampling.settings import PairSettings
from data_prep.video.images import read_image
from models.checkpoint_files import base_of
from models.config import GROUNDERS, GrounderConfig
from models.grounder.grounder import Grounder
from models.interfaces import Answer, Question
from tests.objectives import cpu_strategy
from tests.test_export import write_video
from tests.test_sft import CPU, recipe_of
from tests.tiny_models import save_grounder
from train.__main__ import DOC, hold, main
from train.checkpoint_info import info_of, lines_of
from train.config import TrainSettings
from train.loop.identity import check_identity, write_identity
from train.loop.metrics import Metrics, flatten, tracker_options
from train.loop.objective import StepMetrics
from train.loop.process_group import create_strategy
from train.loop.strategies import DDPStrategy
from train.pairs import PairSample
from train.sft import objective
from train.sft.batch_sampler import MicroBatchSampler
from train.sft.config import PairSource, SftRecipe, TuneSettings
from train.sft.evaluator import EvaluatedPair, compute_metrics, worst_pair
from train.sft.objective import sft_trainer
from train.sft.plots import write_pair, write_plot
from train.sft.recipes import NANO_LORA
from train.sft.sources import pair_plan
from train.sft.validation import out_of_memory_explained, validate

EXPERIMENTS = sorted(path.stem for path in (FOLDER / "experiment").glob("*.yaml"))


class Told(GeneralTracker):
    """A tracker that remembers."""

    name, requires_logging_directory = "told", False

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    @property
    def tracker(self) -> list[tuple[int, dict[str, float]]]:
        return self.rows

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        pass

    def log(self, values: dict[str, float], step: int | None = None, **kwargs: Any) -> None:
        self.rows.append((int(step or 0), values))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set with its index, a tiny grounder, and a run that fine-tuned it."""
    root = tmp_path_factory.mktemp("user")
    write_video(root / "data", "wide", (192, 108))
    build_index(TNLLT, root / "data", "all", root, workers=1)
    save_grounder(root / "model")
    tracker = Told()
    accelerator = Accelerator(cpu=True, log_with=[tracker])
    accelerator.init_trackers("x")
    recipe = recipe_of(root, pairs=8, tune=TuneSettings(rank=2), evaluate_every=1)
    run = sft_trainer(
        recipe, GrounderConfig(str(root / "model"), dtype="float32"), root / "run", DDPStrategy(accelerator)
    )
    assert run.run()
    (root / "told.json").write_text(json.dumps(tracker.rows))
    return root


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of `python -m train`."""
    handlers, level = logging.root.handlers[:], logging.root.level
    status = run_command("train", main, DOC, arguments, hold=hold)
    logging.root.handlers[:], logging.root.level = handlers, level  # its own write to a captured stream
    said = capsys.readouterr()
    return status, said.out, said.err


def test_weights_say_how_they_came_to_be(folder: Path) -> None:
    for name in ("best", "final"):
        told = json.loads((folder / "run" / name / "training.json").read_text())
        assert told["data"] == "tnllt all" and told["steps"] == 2 and "torch" in told["versions"]
        assert 0 <= told["metrics"]["tnllt all"]["iou"] <= 1 and told["recipe"]["tune"]["rank"] == 2
    assert told["step"] == 2 and told["metrics"]["tnllt all"]["step"] == 2


def test_a_model_card_tells_data_recipe_figures_contract_and_use(folder: Path) -> None:
    for name in ("best", "final"):
        card = (folder / "run" / name / "README.md").read_text()
        assert f'base_model: "{folder / "model"}"' in card and "library_name: peft" in card
        assert "Data: tnllt all. Step " in card and '"rank": 2' in card and '"wording": "short"' in card
        assert "bash infer.sh model.checkpoint=FOLDER" in card and "| tnllt all | " in card
        assert f"transformers {transformers.__version__}" in card and "[More Information Needed]" not in card


def test_adapters_name_their_base_wherever_they_are_read_from(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained from a relative path, and read from another folder."""
    monkeypatch.chdir(folder)
    recipe = recipe_of(folder, pairs=4, evaluate=[], tune=TuneSettings(rank=2))
    assert sft_trainer(recipe, GrounderConfig("model", dtype="float32"), tmp_path, cpu_strategy()).run()
    monkeypatch.chdir("/")
    assert base_of("model.checkpoint", str(tmp_path / "final")) == str(folder / "model")


def test_answers_that_are_nan_end_an_evaluation(folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(folder, pairs=4, tune=TuneSettings(rank=2))
    model = GrounderConfig(str(folder / "model"), dtype="float32")
    training = sft_trainer(recipe, model, tmp_path, cpu_strategy())
    with torch.no_grad():
        next(iter(training.strategy.parameters.values())).fill_(torch.nan)
    with pytest.raises(UserError, match=r"step 3: the outputs of the model in training are not finite"):
        training.objective.evaluator.evaluate(3)


def test_merged_weights_are_the_base_and_its_adapters(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = folder / "run" / "final", tmp_path / "merged"
    words = ("task=merge", f"model.checkpoint={source}", f"out={out}", "device=cpu")
    status, said, _ = command(capsys, *words)
    assert status == 0 and said.endswith(f"merged weights in {out}: bash infer.sh model.checkpoint={out}\n")
    attached = Grounder.load(GrounderConfig(str(source), dtype="float32"), CPU)
    merged = Grounder.load(GrounderConfig(str(out), dtype="float32"), CPU)
    base = Grounder.load(GrounderConfig(str(folder / "model"), dtype="float32"), CPU).model.state_dict()
    held = merged.model.state_dict()
    for name, weight in attached.model.state_dict().items():
        torch.testing.assert_close(held[name], weight)
    changed = [name for name, weight in base.items() if not torch.equal(held[name], weight)]
    assert changed and all("_proj" in name for name in changed)
    card = (out / "README.md").read_text()
    assert f"The adapters of `{source}` are added to it." in card and "library_name: transformers" in card
    assert merged.contract == attached.contract and (out / "resolved.yaml").is_file()
    assert command(capsys, *words)[2].endswith("remove them or take another out=\n")


@pytest.mark.parametrize(
    ("checkpoint", "out", "said"),
    [("model", "out", "holds no adapters"), ("run/final", "run/final/x", "the folder of the adapters")],
)
def test_what_cannot_be_merged_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], checkpoint: str, out: str, said: str
) -> None:
    place = folder / out if out.startswith("run") else tmp_path / out
    words = ("task=merge", f"model.checkpoint={folder / checkpoint}", f"out={place}", "device=cpu")
    status, _, error = command(capsys, *words)
    assert status == 1 and said in error and error.count("\n") == 1


def test_the_folder_of_a_run_stands_for_its_best_weights(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder / "run"
    assert info_of(str(run)) == info_of(str(run / "best"))
    status, _, error = command(
        capsys, "task=merge", f"model.checkpoint={run}", f"out={tmp_path}", "device=cpu"
    )
    assert status == 1 and f"its weights are model.checkpoint={run}/best" in error


def test_info_tells_adapters_and_weights(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"out={tmp_path}"
    status, said, _ = command(capsys, "task=info", f"model.checkpoint={folder / 'run' / 'final'}", place)
    assert status == 0
    for words in (
        "rank 2",
        f"base         {folder / 'model'}",
        "short",
        "step 2 of 2",
        "evaluated on tnllt all",
    ):
        assert words in said
    told = json.loads((tmp_path / "info.json").read_text())
    weights = load_file(folder / "run" / "final" / "adapter_model.safetensors")
    assert told["adapters"]["parameters"] == sum(weight.numel() for weight in weights.values())
    assert told["adapters"]["maps"] == len(weights) // 2
    whole = info_of(str(folder / "model"))
    assert whole["family"] == "qwen2_5_vl" and whole["contract"] == contract_values(BUILT_IN["short"])
    model = Grounder.load(GrounderConfig(str(folder / "model")), CPU).model
    assert whole["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert "unknown" in command(capsys, "task=info", f"model.checkpoint={folder / 'model'}", place)[1]


@pytest.mark.parametrize("spoilt", ["{", "[" * 100_000, "[1]", "\x00"])
def test_spoilt_facts_about_weights_are_one_line(folder: Path, tmp_path: Path, spoilt: str) -> None:
    final = shutil.copytree(folder / "run" / "final", tmp_path / "final")
    (final / "training.json").write_text(spoilt)
    with pytest.raises(UserError, match=r"training\.json: cannot be read .*; restore it, or remove it"):
        info_of(str(final))


@pytest.mark.parametrize("changes", [{"metrics": 3}, {"figures": {"a": [1]}}, {"recipe": "x"}, {"merged": 1}])
def test_facts_of_another_form_are_told(folder: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    final = shutil.copytree(folder / "run" / "final", tmp_path / "final")
    about = json.loads((final / "training.json").read_text())
    (final / "training.json").write_text(json.dumps({**about, **changes}))
    assert "does not have the form" in list(lines_of(info_of(str(final))))[-1]


def test_metrics_of_earlier_versions_are_described(folder: Path, tmp_path: Path) -> None:
    final = shutil.copytree(folder / "run" / "final", tmp_path / "final")
    about = json.loads((final / "training.json").read_text())
    about["figures"] = about.pop("metrics")
    (final / "training.json").write_text(json.dumps(about))
    assert any("evaluated on tnllt all" in line for line in lines_of(info_of(str(final))))


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ("nowhere/at/all", "no such folder"),
        ("owner/never-fetched-x", "is not in the cache of the hub"),
        ("data", "config"),
    ],
)
def test_info_of_nothing_is_one_line(folder: Path, checkpoint: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        info_of(str(folder / checkpoint) if checkpoint == "data" else checkpoint)


def test_every_row_is_reported(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    told = json.loads((folder / "told.json").read_text())
    assert [step for step, _ in told] == [row["step"] for row in rows] == [0, 1, 1, 2, 2]
    assert told[1][1]["train/loss"] == rows[1]["loss"] and told[2][1]["tnllt all/iou"] == rows[2]["iou"]


def test_a_line_tells_what_a_gpu_does_and_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = {"pairs": 8, "answer_tokens": 90, "tokens": 900}
    metrics = Metrics(tmp_path, writes=True, peak_flops=1e12)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**29)
    metrics.add(StepMetrics({"loss": 0.5}, 1e-3, 1.0, counts, flops=4e11), seconds=1.0)
    with caplog.at_level("INFO"):
        metrics.log(30, 120, seconds_per_step=2.0)
    assert (
        "step 30/120  loss 0.5000  lr 1.0e-03  4.0 pairs/s  450 tokens/s  MFU 20.0%  1.5 GiB" in caplog.text
    )
    assert caplog.text.strip().endswith("2000 ms/step  3 min left")


def test_a_tracker_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("train.loop.metrics.find_spec", lambda name: None if name == "wandb" else object())
    with pytest.raises(UserError, match=r"report_to=\[wandb\].*pip install wandb"):
        tracker_options(["tensorboard", "wandb"], tmp_path)
    assert tracker_options([], tmp_path) == {} and tracker_options(["tensorboard"], tmp_path)["log_with"] == [
        "tensorboard"
    ]
    assert flatten({"a": {"b": [1], "c": 2}, "d": None}) == {"a.b": "[1]", "a.c": 2, "d": "None"}


def test_an_evaluation_leaves_a_plot_and_the_worst_answer(folder: Path) -> None:
    run = folder / "run"
    assert sorted(path.name for path in run.glob("worst-*.png")) == [f"worst-{n}.png" for n in range(3)]
    assert read_image(run / "plot.png").std() > 5


def question() -> Question:
    return Question(
        np.full((60, 90, 3), 90, np.uint8), "a $cup$", np.zeros((30, 30, 3), np.uint8), drawn=True
    )


def said(overlap: float | None, visible: float, confidence: float = 0.5) -> EvaluatedPair:
    box = (10.0, 10.0, 30.0, 40.0)
    asked = PairSample(7, question(), None if overlap is None else (50.0, 20.0, 80.0, 50.0))
    return EvaluatedPair(asked, Answer(visible, box, confidence, "10,10,30,40"), overlap)


def test_the_worst_answer_is_the_surest_of_the_wrong() -> None:
    right, sure, unsure = said(0.9, 0.9), said(0.0, 0.9, 0.8), said(0.0, 0.2, 0.1)
    assert worst_pair([right, unsure, sure]) is sure
    assert (
        worst_pair([right, said(None, 0.05)]) is right and worst_pair([right, said(None, 0.2)]) is not right
    )
    ghost = said(None, 0.99)
    assert worst_pair([right, ghost, said(0.3, 0.9)]) is ghost


def test_a_share_of_nothing_is_told_as_none() -> None:
    seen = compute_metrics([said(0.9, 0.9), said(0.5, 0.9)])
    assert seen.absent_recall is None and "visible 1.000  absent recall -  unread" in str(seen)
    both = compute_metrics([said(0.9, 0.9), said(None, 0.2), said(None, 0.8)])
    assert both.absent_recall == 0.5 and "absent recall 0.500" in str(both)


def test_the_picture_of_an_answer_shows_both_boxes(tmp_path: Path) -> None:
    write_pair(tmp_path / "worst.png", said(0.0, 0.9))
    picture = read_image(tmp_path / "worst.png").astype(int)
    green = (picture[..., 1] > 150) & (picture[..., 0] < 80)
    orange = (picture[..., 0] > 200) & (picture[..., 1] > 100) & (picture[..., 2] < 60)
    assert green.sum() > 100 and orange.sum() > 100
    assert np.nonzero(green)[1].mean() > np.nonzero(orange)[1].mean()  # the true box lies to the right
    write_pair(tmp_path / "absent.png", replace(said(None, 0.9), iou=None))


def test_a_plot_needs_no_loss_and_no_figures(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        json.dumps({"step": 0, "eval_set": "a", "iou": 0.1, "visible_accuracy": 1})
    )
    write_plot(tmp_path / "metrics.jsonl", tmp_path / "plot.png")
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": n, "loss": 1 / n}) + "\n" for n in (1, 2, 2))
    )
    write_plot(tmp_path / "metrics.jsonl", tmp_path / "plot.png")


def doubts(folder: Path, learn: PairSettings, eval_split: str = "all", **contract: Any) -> list[str]:
    source = PairSource(data=["tnllt"], split="all", indexes=str(folder), pairs=learn)
    other = PairSource(data=["tnllt"], split=eval_split, indexes=str(folder))
    plans = pair_plan(source, 0, folder), pair_plan(other, 0, folder)
    taught = replace(BUILT_IN["short"], **contract)
    return list(validate(SftRecipe(), "x", taught, (source, plans[0]), [(other, plans[1])]))


def test_doubts_are_told_and_only_doubts(folder: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "data", "other", (192, 108))
    (tmp_path / "data" / "val_split.txt").write_text("other\n")
    build_index(TNLLT, tmp_path / "data", "val", folder, workers=1)
    assert doubts(folder, PairSettings(), "val") == []
    assert re.match(
        r"evaluation set tnllt all: 1 of its 1 videos are in the training set",
        doubts(folder, PairSettings())[0],
    )
    for settings, words in (
        (PairSettings(prompt_scale_from=5.0), "rectangles of 3 sides of the target, and pairs show 5 to 8"),
        (PairSettings(prompt_colours=["blue"]), "colour of the contract"),
        (PairSettings(prompt_width_from=2.0, prompt_width_to=3.0), "line width of the contract"),
    ):
        (line,) = doubts(folder, settings, "val")
        assert words in line
        assert doubts(folder, replace(settings, marked=0.0), "val") == []
    assert doubts(folder, PairSettings(prompt_scale_from=5.0), "val", prompt_scale=6.0) == []


def test_settings_of_the_small_model_are_for_the_small_model(folder: Path) -> None:
    source = PairSource(data=["tnllt"], split="all", indexes=str(folder))
    given = BUILT_IN["short"], (source, pair_plan(source, 0, folder)), []
    (line,) = validate(NANO_LORA, "Qwen/Qwen2.5-VL-3B-Instruct", *given)
    assert line.endswith("take recipe=sft")
    assert list(validate(NANO_LORA, GROUNDERS["nano"].checkpoint, *given)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_data": {"split": "nowhere"}}, "no such index; make it with task=index"),
        (
            {"train_data": {"data": [], "weights": [1.0]}},
            r"recipe.train_data.weights, .* are for recipe.train_data.data=",
        ),
        (
            {"train_data": {"data": ["tnllt", "tnl2k"], "splits": ["all"] * 3}},
            "give a split for each of tnllt, tnl2k",
        ),
        ({"train_data": {"weights": [0.0]}}, "weight above 0"),
    ],
)
def test_pairs_that_are_not_there_are_one_line(
    folder: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    recipe = recipe_of(folder)
    recipe = replace(recipe, train_data=replace(recipe.train_data, **changes["train_data"]))
    with pytest.raises(UserError, match=said) as fault:
        sft_trainer(recipe, GrounderConfig(str(folder / "model")), tmp_path, cpu_strategy())
    assert "\n" not in str(fault.value)


def test_a_data_set_that_never_shows_its_target_is_one_line(folder: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "data", "gone", (192, 108))
    (tmp_path / "data" / "gone" / "absent_label.txt").write_text("\n".join("0" * 6))
    build_index(TNLLT, tmp_path / "data", "all", tmp_path, workers=1)
    with pytest.raises(UserError, match="no sequence shows its target"):
        pair_plan(PairSource(data=["tnllt"], split="all", indexes=str(tmp_path)), 0, tmp_path)


def test_what_cannot_be_trained_is_told_before_anything_is_read(folder: Path, tmp_path: Path) -> None:
    recipe = SftRecipe(train_data=PairSource(data=["tnl2k"], indexes="nowhere"))
    for checkpoint in (folder / "data", folder / "gone"):
        with pytest.raises(UserError, match=re.escape(f"model.checkpoint={checkpoint}")):
            sft_trainer(recipe, GrounderConfig(str(checkpoint)), tmp_path / "out", cpu_strategy())
    assert not (tmp_path / "out").exists()


def test_a_run_that_never_began_does_not_keep_its_folder(tmp_path: Path) -> None:
    check_identity(tmp_path, {"a": 1})
    write_identity(tmp_path, {"a": 2})
    check_identity(tmp_path, {"a": 2})
    with pytest.raises(UserError, match=r"other settings \(a\); take another out=$"):
        check_identity(tmp_path, {"a": 3})


def test_a_refused_command_leaves_the_record_of_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, error = command(capsys, f"out={folder / 'run'}", "recipe.train_data.videos=1")
    assert status == 1 and "holds a run of other settings (" in error and error.count("\n") == 1
    assert not (folder / "run" / "resolved.yaml").exists()  # the folder's run was made without one


def test_a_batch_that_does_not_fit_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 79 * 2**30)
    for count, words in (
        (8, "halve these values, or take recipe.gradient_checkpointing=true"),
        (1, "; take recipe.gradient_checkp"),
    ):
        with pytest.raises(UserError) as fault, out_of_memory_explained(MicroBatchSampler(8, count)):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")
        assert words in str(fault.value) and "79.0 GiB were in use, the GPU has 80.0" in str(fault.value)
    run = sft_trainer(recipe_of(folder), GrounderConfig(str(folder / "model")), tmp_path, cpu_strategy())

    def full(batches: object, step: int) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(run.objective, "_take_step", full)
    with pytest.raises(
        UserError, match=r"recipe\.micro_batch=2, recipe\.micro_tokens=6144: out of GPU memory"
    ):
        run.run()


def test_gradients_of_copies_are_held_once(folder: Path) -> None:
    strategy = create_strategy(recipe_of(folder), "ddp", None, torch.device("cpu"), torch.float32)
    assert strategy.accelerator.ddp_handler.gradient_as_bucket_view


@pytest.mark.parametrize("recipe", ["vptracker", "reasoningtrack_sft"])
def test_published_recipes_compose(recipe: str) -> None:
    with composer("train", FOLDER) as composing:
        config = composing._compose([f"recipe={recipe}"])
        check(config)
    settings = as_settings(config).recipe
    assert isinstance(settings, SftRecipe) and settings.name == recipe
    assert settings.batch % settings.micro_batch == 0 and settings.tune.method == "full"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_changes_something(name: str) -> None:
    with composer("train", FOLDER) as composing:
        config = composing._compose([f"experiment={name}"])
        check(config)
    told, usual = as_settings(config), TrainSettings(recipe=NANO_LORA, out="outputs/train/nano_lora")
    assert isinstance(told.recipe, SftRecipe)
    same = {"lora_rank_16", "lora_vision_tower"}  # as usual, to stand among the others
    assert (told == usual) == (name in same)
    text = (FOLDER / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert text[0] == "# @package _global_" and text[1].startswith("# ")


def test_experiments_are_swept_and_evaluated_as_they_say(tmp_path: Path) -> None:
    with composer("train", FOLDER) as composing:
        config = as_settings(composing._compose(["experiment=without_template"]))
    assert [each.pairs.template for each in config.recipe.evaluation_sources] == [0.0, 0.0]
    assert [each.title for each in config.recipe.evaluation_sources] == [
        each.title for each in config.recipe.evaluate
    ]
    assert SftRecipe().evaluation_sources == SftRecipe().evaluate


def test_a_launcher_that_is_not_installed_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with composer("train", FOLDER) as composing:
        if "submitit_slurm" in composing.options("hydra/launcher"):
            pytest.skip("hydra-submitit-launcher is installed")
    status, _, error = command(capsys, "-m", "hydra/launcher=submitit_slurm", "experiment=full_all")
    assert status == 1 and "pip install hydra-submitit-launcher" in error and error.count("\n") == 1


def test_the_accelerator_is_told_of_trackers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: dict[str, Any] = {}

    class Stop(Exception):  # noqa: N818
        pass

    def accelerator(**kwargs: Any) -> None:
        told.update(kwargs)
        raise Stop

    monkeypatch.setattr("train.loop.metrics.find_spec", lambda name: object())
    monkeypatch.setattr("train.loop.process_group.Accelerator", accelerator)
    with pytest.raises(Stop):
        objective.train_sft(SftRecipe(report_to=["tensorboard"]), GrounderConfig("x"), tmp_path, CPU)
    assert told["log_with"] == ["tensorboard"] and str(tmp_path) in told["project_config"].logging_dir


def test_evaluation_pairs_are_drawn_as_training_pairs_where_that_is_set(folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(folder, evaluate_sampling="train")
    recipe = replace(recipe, train_data=replace(recipe.train_data, pairs=PairSettings(worded=0.0)))
    run = sft_trainer(recipe, GrounderConfig(str(folder / "model")), tmp_path, cpu_strategy())
    assert [plan.settings for plan in run.objective.evaluator.plans] == [recipe.train_data.pairs]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("recipe.judge=[]", "recipe.evaluate"),
        ("recipe.judge.0.split=val", "recipe.evaluate.0.split"),
        ("recipe.judge_every=5", "recipe.evaluate_every"),
        ("recipe.judge_pairs=5", "recipe.evaluate_pairs"),
        ("recipe.judge_drawn=learned", "recipe.evaluate_sampling"),
        ("recipe.learn.pairs.gap=5", "recipe.train_data.pairs.gap"),
        ("recipe.smoothing=0", "recipe.soft_label_std"),
    ],
)
def test_an_old_key_is_answered_with_the_new_one(
    capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    status, _, error = command(capsys, "recipe=sft", old)
    assert status == 1 and error == f"error: {old.partition('=')[0]}: has a new name; write {new}=\n"
