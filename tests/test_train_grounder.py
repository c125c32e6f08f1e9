"""The grounder's training: stages, the losses of a batch, and a loop that goes on by itself."""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from configs.errors import UserError
from data_prep.contract.chat import answer_of
from data_prep.contract.contract import BUILT_IN
from data_prep.world.presets import PRESETS, TRAINING_SEEDS
from models.config import GrounderConfig
from models.grounder.forward import encode_images
from models.grounder.grounder import Grounder
from models.grounder.nano import build_processor
from tests.objectives import built, cpu_strategy
from train.loop.checkpoints import Checkpoints
from train.loop.schedule import warmup_stable_decay
from train.loop.trainer import Trainer
from train.scratch import frame_pool
from train.scratch import grounder as recipe_module
from train.scratch.annotated_frames import AnnotatedFrame
from train.scratch.config import GrounderRecipe, GrounderStage
from train.scratch.frame_pool import FramePool, PoolSpec, open_pool
from train.scratch.grounder import GrounderObjective, question_mix, train_grounder
from train.scratch.grounder_losses import LookHead, search_tokens
from train.scratch.questions import QuestionMix, Sample, sample_questions

CPU = torch.device("cpu")
CONTRACT = BUILT_IN["short"]
PROCESSOR = build_processor()
HEADS = "look_head", "match_head", "named_head"
RECIPE = GrounderRecipe(
    width=32,
    layers=3,
    vision_layers=2,
    named_layer=1,
    match_layer=2,
    stages=[
        GrounderStage(presets=["plain"], images=4, steps=2, batch=2, language=False),
        GrounderStage(presets=["train"], images=6, steps=2, batch=2, questions=2),
    ],
    warmup_steps=1,
    workers=1,
    log_every=1,
    evaluate_every=3,
    evaluate_samples=3,
    checkpoint_every=2,
    threads=1,
)


@pytest.fixture(autouse=True, scope="module")
def small_and_quick() -> Iterator[None]:
    """Few shots to a file, and one tokenizer for all runs."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_pool, "CHUNK", 2)
        patch.setattr(recipe_module, "build_processor", lambda: PROCESSOR)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs, which share their pools."""
    return tmp_path_factory.mktemp("runs")


# ---- schedule and stages -------------------------------------------------------------------------


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [warmup_stable_decay(step, 100, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10:60] == pytest.approx([1.0] * 50)
    assert all(after < before for before, after in itertools.pairwise(rates[60:]))
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert [warmup_stable_decay(step, 100, 10, decay=0.0) for step in (9, 10, 60, 99)] == [1.0] * 4


def begin(**changes: Any) -> GrounderObjective:
    """A training that writes nothing."""
    return built(GrounderObjective, dataclasses.replace(RECIPE, **changes))


def test_steps_belong_to_their_stages() -> None:
    training = begin()
    places = [training.stage_at(step) for step in range(4)]
    assert [(stage.presets[0], index) for stage, index in places] == [
        ("plain", 0),
        ("plain", 1),
        ("train", 0),
        ("train", 1),
    ]


def test_steps_on_crops_take_all_sizes_of_the_contract(tmp_path: Path) -> None:
    stage = GrounderStage(["plain"], images=4, crops=2, crop_share=0.7, steps=40, batch=2)
    training = begin(stages=[stage], other_search_sizes=["280x280", "224x336"])
    training.out = tmp_path / "run"
    shapes = [{frame.image.shape[:2] for frame in training.frames(stage, step)} for step in range(40)]
    assert all(len(each) == 1 for each in shapes), "frames of a step have one size"
    counts = Counter(shape for each in shapes for shape in each)
    assert set(counts) == {(224, 336), (280, 280), (336, 224)}
    assert training.contract.search_sizes == ((336, 224), (280, 280), (224, 336))
    assert training.take_step(next(training.batches(range(1))), 0).losses
    with pytest.raises(UserError, match=r"recipe\.other_search_sizes: 'square' is not WIDTHxHEIGHT"):
        begin(other_search_sizes=["square"])
    with pytest.raises(UserError, match=r"recipe\.stages: crops=1 are fewer than batch=2"):
        begin(stages=[dataclasses.replace(stage, crops=1)])


def test_the_rate_is_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GrounderObjective, "losses", lambda *_: {})
    monkeypatch.setattr(GrounderObjective, "update", lambda _self, _loss, rate, *_: rates.append(rate))
    falling = GrounderStage(steps=10, learning_rate=0.02, decay=0.5)
    training = begin(stages=[GrounderStage(steps=10, learning_rate=0.01), falling], warmup_steps=4)
    rates: list[float] = []
    for step in (0, 9, 10, 15, 19):
        assert training.take_step([], step).learning_rate == rates[-1]
    expected = [0.0025, 0.01, 0.005, 0.02, 0.02 * warmup_stable_decay(9, 10, 4, 0.5)]
    assert rates == pytest.approx(expected) and rates[-1] < 0.005


def test_a_stage_says_what_is_asked() -> None:
    mix = question_mix(GrounderStage(absent=0.1, template=0.2, marked=0.3, plain=True))
    assert mix == QuestionMix(absent=0.1, template=0.2, marked=0.3, plain=True)


def test_an_empty_curriculum_is_refused() -> None:
    with pytest.raises(UserError, match="stages is empty"):
        begin(stages=[])


@pytest.mark.parametrize(("name", "layer"), [("named_layer", 0), ("match_layer", 4)])
def test_a_layer_that_the_model_has_not_is_refused(name: str, layer: int) -> None:
    with pytest.raises(UserError, match=rf"recipe\.{name}={layer}: the model has layers 1 to 3"):
        begin(**{name: layer})


def test_an_epoch_takes_each_picture_once_in_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GrounderObjective, "pool", lambda self, preset, first, count: range(first, count))
    stage, training = GrounderStage(images=9, batch=6), begin()
    taken = [training.frames(stage, step) for step in range(6)]
    epochs = np.array(taken).reshape(4, 9)
    assert np.array_equal(np.sort(epochs), [list(range(9))] * 4)
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4
    assert [training.frames(stage, step) for step in (5, 1, 0)] == [taken[5], taken[1], taken[0]]
    training.recipe = dataclasses.replace(RECIPE, seed=1)
    assert training.frames(stage, 5) != taken[5]


def test_steps_take_their_worlds_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"train": 0, "varied": 100}
    monkeypatch.setattr(
        GrounderObjective, "pool", lambda self, preset, _, count: np.arange(count) + first[preset]
    )
    stage, training = GrounderStage(presets=["train", "varied"], images=4, batch=2), begin()
    taken = np.array([training.frames(stage, step) for step in range(4)])
    assert np.array_equal(np.sort(taken[[0, 2]].ravel()), range(4))
    assert np.array_equal(np.sort(taken[[1, 3]].ravel()), range(100, 104))


# ---- losses of a batch ---------------------------------------------------------------------------


@pytest.fixture
def training(runs: Path) -> GrounderObjective:
    return built(GrounderObjective, RECIPE, runs / "step")


@pytest.fixture
def samples(training: GrounderObjective) -> list[Sample]:
    """Six questions about two pictures, with and without templates."""
    pool = training.pool("train", 0, 6)
    mix = QuestionMix(absent=0.3, template=0.5)
    drawn = sample_questions(np.random.default_rng(2), [pool[0], pool[1]], 3, mix)
    assert {sample.question.template is None for sample in drawn} == {True, False}
    assert {sample.thing is None for sample in drawn} == {True, False}
    return drawn


def test_the_loss_falls_on_samples_seen_again_and_again(
    training: GrounderObjective, samples: list[Sample]
) -> None:
    rows = []
    for _ in range(25):
        losses = training.losses(samples)
        training.update(sum(losses.values(), torch.zeros(())), 4e-3, 1.0)
        rows.append({name: float(loss.detach()) for name, loss in losses.items()})
    assert rows[0].keys() == {"look", "answer", "named", "match"}
    assert all(rows[-1][name] < 0.7 * rows[0][name] for name in rows[0]), rows[-1]


@torch.no_grad()
def test_losses_weigh_as_the_recipe_says(training: GrounderObjective, samples: list[Sample]) -> None:
    losses = training.losses(samples)
    training.recipe = dataclasses.replace(RECIPE, look_weight=2.0, match_weight=0.5, named_weight=3.0)
    weighed = training.losses(samples)
    assert float(weighed["look"]) == pytest.approx(2 * float(losses["look"]))
    assert float(weighed["match"]) == pytest.approx(0.5 * float(losses["match"]))
    assert float(weighed["named"]) == pytest.approx(3 / RECIPE.named_weight * float(losses["named"]))
    assert torch.equal(weighed["answer"], losses["answer"])
    assert torch.equal(training.losses(samples, language=False)["look"], weighed["look"])


@torch.no_grad()
def test_the_model_reads_boxes_near_the_true_ones(
    training: GrounderObjective, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its labels are those of the true boxes all the same."""
    read: list[Sequence[str]] = []
    true_boxes: list[Any] = []
    encode, label = recipe_module.encode_answers, recipe_module.soft_labels

    def record(encoder: Any, questions: Any, answers: Sequence[str]) -> Any:
        read.append(answers)
        return encode(encoder, questions, answers)

    def record_labels(*arguments: Any) -> Any:
        true_boxes.append(arguments[-1])
        return label(*arguments)

    monkeypatch.setattr(recipe_module, "encode_answers", record)
    monkeypatch.setattr(recipe_module, "soft_labels", record_labels)
    training.losses(samples)
    training.losses(samples, rng=np.random.default_rng(0))
    training.losses(samples, rng=np.random.default_rng(0))
    true, sampled, again = read
    assert sampled == again
    for sample, one, other in zip(samples, true, sampled, strict=True):
        assert (one == other) == (sample.thing is None)
    assert true_boxes == [[sample.box_resized for sample in samples]] * 3
    # Hard labels, or none that are sampled.
    for changes in ({"soft_label_std": 0.0}, {"sample_answers": False}):
        training.recipe = dataclasses.replace(RECIPE, **changes)
        training.losses(samples, rng=np.random.default_rng(0))
    assert read[3:] == [true, true] and len(true_boxes) == 4


@torch.no_grad()
def test_every_search_picture_is_looked_at_once_and_no_template_is(
    training: GrounderObjective, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, list[AnnotatedFrame]]] = []

    def record(head: LookHead, features: torch.Tensor, shots: list[AnnotatedFrame]) -> torch.Tensor:
        seen.append((features, shots))
        return torch.zeros(())

    monkeypatch.setattr(recipe_module, "look_loss", record)
    training.losses(samples, language=False)
    ((features, shots),) = seen
    assert [id(each) for each in shots] == [id(samples[0].frame), id(samples[3].frame)]
    for index, sample in enumerate((samples[0], samples[3])):
        bare = dataclasses.replace(sample.question, template=None)
        inputs = training.encoder.encode([bare], "").inputs
        (alone,) = encode_images(training.model, inputs["pixel_values"], inputs["image_grid_thw"])
        torch.testing.assert_close(features[index], alone.tokens, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("loss", "after"), [("named_loss", 1), ("match_loss", 2)])
def test_the_search_pictures_tokens_are_asked_after_the_layer_of_the_recipe(
    loss: str,
    after: int,
    training: GrounderObjective,
    samples: list[Sample],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states: list[torch.Tensor] = []
    layer = training.model.model.language_model.layers[after - 1]
    hook = layer.register_forward_hook(lambda _module, _inputs, out: states.append(out))
    asked_of: list[torch.Tensor] = []

    def record(head: nn.Module, hidden: torch.Tensor, *_: Any) -> torch.Tensor:
        asked_of.append(hidden)
        return torch.zeros(())

    monkeypatch.setattr(recipe_module, loss, record)
    training.losses(samples)
    hook.remove()
    answers = [answer_of(CONTRACT, sample.box_resized) for sample in samples]
    ids = training.encoder.encode([sample.question for sample in samples], answers).inputs["input_ids"]
    positions = search_tokens(ids, training.model.config.image_token_id, 96)
    expected = torch.stack([state[row] for state, row in zip(states[0], positions, strict=True)])
    assert torch.equal(asked_of[0], expected)


def weights_of(training: GrounderObjective) -> dict[str, torch.Tensor]:
    named = {
        f"{part}.{name}": weight
        for part, learner in training.modules.items()
        for name, weight in learner.named_parameters()
    }
    assert all(weight.requires_grad for weight in named.values())
    return {name: weight.detach().clone() for name, weight in named.items()}


def test_the_tower_learns_first_and_then_every_parameter(training: GrounderObjective) -> None:
    start = weights_of(training)
    batches = training.batches(range(4))
    assert training.take_step(next(batches), 0).losses.keys() == {"look"}
    training.take_step(next(batches), 1)  # what a zero multiplies at first moves a step later
    tower = weights_of(training)
    moved = {name for name in start if not torch.equal(start[name], tower[name])}
    assert moved == {name for name in start if name.startswith(("model.model.visual.", "look_head."))}
    assert training.take_step(next(batches), 2).losses.keys() == {"look", "answer", "named", "match"}
    training.take_step(next(batches), 3)
    end = weights_of(training)
    assert [name for name in start if torch.equal(tower[name], end[name])] == []


def test_a_loss_that_is_not_finite_stops_the_run(runs: Path, tmp_path: Path) -> None:
    trainer = Trainer(GrounderObjective(RECIPE, runs / "nan", cpu_strategy()), RECIPE, tmp_path)
    with torch.no_grad():
        trainer.objective.look_head.out.bias.fill_(float("nan"))
    with pytest.raises(UserError, match=r"look is nan at step 0; lower the learning_rate of its stage"):
        trainer.run()
    assert trainer.checkpoints.steps() == []


# ---- the loop ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that went through without a break, and the pools it opened: preset, first and count."""

    folder: Path
    pools: list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def finished(runs: Path) -> Finished:
    pools: list[tuple[str, int, int]] = []

    def record(folder: Path, kind: PoolSpec, first: int, count: int, workers: int) -> FramePool:
        assert folder == runs / "pools", "beside the run, for others to share"
        pools.append((kind.preset, first, count))
        return open_pool(folder, kind, first, count, workers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe_module, "open_pool", record)
        train_grounder(RECIPE, runs / "whole", CPU)
    return Finished(runs / "whole", pools)


def test_pools_are_those_of_the_stages_and_held_out_scenes_are_never_learned(finished: Finished) -> None:
    assert finished.pools == [("plain", 0, 4), ("train", 0, 6), ("train", TRAINING_SEEDS, 3)]


@pytest.mark.parametrize(
    ("contract", "preset", "draws_anew"),
    [
        ({}, {}, False),
        ({"wording": "terse"}, {}, False),
        ({"template_scale": 3.0}, {}, True),
        ({"side_multiple": 14}, {}, True),
        ({}, {"look_alikes": 3}, True),
    ],
)
def test_a_pool_of_other_settings_is_not_reused(
    monkeypatch: pytest.MonkeyPatch, contract: dict[str, Any], preset: dict[str, Any], draws_anew: bool
) -> None:
    """Runs find the pools of earlier runs by the folder's name."""
    before = PoolSpec("train", BUILT_IN["short"], (336, 224)).name
    monkeypatch.setitem(PRESETS, "train", dataclasses.replace(PRESETS["train"], **preset))
    after = PoolSpec("train", dataclasses.replace(BUILT_IN["short"], **contract), (336, 224)).name
    assert (before != after) == draws_anew


def test_held_out_scenes_belong_to_no_other_preset() -> None:
    firsts = sorted(preset.first_seed for preset in PRESETS.values())
    for first in firsts:
        following = [other for other in firsts if other > first]
        assert not following or first + TRAINING_SEEDS + 1_000_000 < min(following)


def weights_at_end(out: Path) -> dict[str, torch.Tensor]:
    path = Checkpoints(out / "checkpoints", 2).path(4) / "state.pt"
    return torch.load(path, weights_only=True)["weights"]


def cut_after(steps: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is cut after some steps."""
    take_step, taken = GrounderObjective.take_step, []

    def cut(self: GrounderObjective, batch: list[Sample], step: int) -> Any:
        if len(taken) == steps:
            raise KeyboardInterrupt
        taken.append(1)
        return take_step(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(GrounderObjective, "take_step", cut)
        with pytest.raises(KeyboardInterrupt):
            train_grounder(RECIPE, out, CPU)


def test_a_run_that_was_cut_ends_with_the_same_bits(
    finished: Finished, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = runs / "cut"
    cut_after(2, cut, monkeypatch)  # saved at the end of the first stage
    assert Checkpoints(cut / "checkpoints", 2).steps()[-1] == 2 and not (cut / "model").exists()
    cut_after(1, cut, monkeypatch)  # saved for its evaluation
    assert Checkpoints(cut / "checkpoints", 2).steps()[-1] == 3 and not (cut / "model").exists()
    train_grounder(RECIPE, cut, CPU)
    one, two = (weights_at_end(folder) for folder in (finished.folder, cut))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert {name.split(".")[0] for name in one} == {"model", *HEADS}


def test_losses_and_figures_are_written_down(finished: Finished) -> None:
    rows = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "iou" in row] == [3, 4]
    assert [row["step"] for row in rows if "lr" in row] == [1, 2, 3, 4]
    assert ["answer" in row for row in rows if "lr" in row] == [False, False, True, True]


def test_a_finished_run_leaves_a_grounder_without_the_heads(finished: Finished) -> None:
    grounder = Grounder.load(GrounderConfig(str(finished.folder / "model")), CPU)
    assert grounder.contract == BUILT_IN[RECIPE.contract]
    held = weights_at_end(finished.folder).items()
    state = {name.removeprefix("model."): weight for name, weight in held if name.startswith("model.")}
    loaded = dict(grounder.model.named_parameters())
    assert loaded.keys() == state.keys()
    assert all(torch.equal(weight.half(), loaded[name].half()) for name, weight in state.items())
    written = load_file(finished.folder / "model" / "model.safetensors")
    assert {weight.dtype for weight in written.values()} == {torch.float16}
    assert json.loads((finished.folder / "model" / "tokenizer.json").read_text())["padding"] is None


def test_a_run_starts_from_the_weights_of_another(finished: Finished) -> None:
    other = begin(initial=str(finished.folder / "model"), seed=7)
    held = weights_at_end(finished.folder)
    for name, weight in other.model.named_parameters():
        assert torch.equal(weight, held[f"model.{name}"].half().float())
    with pytest.raises(UserError, match=r"model: has other sizes; set recipe\.width"):
        begin(initial=str(finished.folder / "model"), layers=4)
    with pytest.raises(UserError, match=r"model: its contract\.json is not that of recipe\.contract"):
        begin(initial=str(finished.folder / "model"), contract="instruct")


def test_saved_and_evaluated_weights_are_the_mean_of_the_trained_and_the_initial_ones(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tied weights too, which a model has once under two names."""
    initial = finished.folder / "model"
    with pytest.raises(UserError, match=r"recipe\.initial_share needs recipe\.initial"):
        begin(initial_share=0.25)
    other = begin(initial=str(initial), initial_share=0.25)
    with torch.no_grad():
        for weight in other.model.parameters():
            weight.add_(1.0)
    other.save_weights(tmp_path / "model", 0, {})
    before, after = (load_file(folder / "model.safetensors") for folder in (initial, tmp_path / "model"))
    assert before.keys() == after.keys()
    for name, weight in before.items():
        torch.testing.assert_close(after[name].float(), weight.float() + 0.75, atol=2e-3, rtol=2e-3)
    evaluated = []
    monkeypatch.setattr(
        "train.scratch.grounder.evaluate_grounder", lambda grounder, _: evaluated.append(grounder.model)
    )
    other.out = tmp_path  # where rendered frames are kept
    other.evaluate(other.steps)
    trained = dict(other.model.named_parameters())
    for name, weight in evaluated[0].named_parameters():
        # Trained weights are the initial ones + 1.
        torch.testing.assert_close(weight, trained[name] - 0.25, atol=1e-5, rtol=1e-5)


def test_the_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    Trainer(GrounderObjective(RECIPE, tmp_path, cpu_strategy()), RECIPE, tmp_path)
    for changes in ({"max_grad_norm": 0.5}, {"stages": RECIPE.stages[:1]}, {"seed": 1}):
        other = GrounderObjective(dataclasses.replace(RECIPE, **changes), tmp_path, cpu_strategy())
        (name,) = changes
        with pytest.raises(UserError, match=rf"holds a run of other settings \(recipe\.{name}\)"):
            Trainer(other, other.recipe, tmp_path)
    Trainer(GrounderObjective(RECIPE, tmp_path, cpu_strategy()), RECIPE, tmp_path)
