"""Fine-tuning on pairs: what learns and what does not, the same loss however it is computed, going on."""

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file
from transformers import Qwen2_5_VLForConditionalGeneration

from configs.errors import UserError
from configs.launch.signals import Stopped
from data_prep.contract.contract import BUILT_IN
from data_prep.index.build import build_index, index_path
from data_prep.readers.tnllt import TNLLT
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.pairs import PairSampler
from data_prep.sampling.settings import PairSettings
from models.config import GrounderConfig
from models.families import FAMILIES, part_of
from models.grounder.forward import encode_images, forward
from models.grounder.grounder import Grounder
from models.kernels.attention import use_packed_attention
from tests.objectives import cpu_strategy
from tests.sft_work import fork_processes
from tests.test_export import write_video
from tests.tiny_models import save_grounder
from train.loop.objective import Evaluation
from train.loop.strategies import DDPStrategy, trainable_parameters
from train.loop.trainer import Trainer
from train.pairs import IGNORED, PairQuestions
from train.sft.batch_sampler import ImageTokens, MicroBatchSampler, balanced_groups
from train.sft.batches import MicroBatch, collate, load_steps, num_workers
from train.sft.config import PairSource, SftRecipe, TuneSettings
from train.sft.model import GrounderForTraining, set_trainable
from train.sft.objective import SftObjective, sft_trainer

pytestmark = pytest.mark.usefixtures("without_plots")

CPU = torch.device("cpu")
SIZES = {"wide": (192, 108), "tall": (80, 160)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set with its index, and a tiny grounder."""
    root = tmp_path_factory.mktemp("sft")
    for name, size in SIZES.items():
        write_video(root / "data", name, size)
    build_index(TNLLT, root / "data", "all", root, workers=1)
    save_grounder(root / "model")
    return root


def grounder(folder: Path) -> Grounder:
    return Grounder.load(GrounderConfig(str(folder / "model"), dtype="float32"), CPU)


def batch_of(folder: Path, numbers: range = range(6)) -> MicroBatch:
    plan = PairPlan((index_path(folder, "tnllt", "all"),), PairSettings(), seed=5)
    source = PairQuestions(plan, BUILT_IN["short"])
    return collate(grounder(folder).encoder, [source[number] for number in numbers])


def recipe_of(folder: Path, **changes: Any) -> SftRecipe:
    source = PairSource(data=["tnllt"], split="all", indexes=str(folder))
    recipe = SftRecipe(
        tune=TuneSettings(rank=4, alpha=8, dropout=0.1),
        train_data=source,
        evaluate=[source],
        pairs=24,
        batch=4,
        micro_batch=2,
        learning_rate=1e-2,
        evaluate_pairs=4,
        evaluate_every=4,
        checkpoint_every=2,
        log_every=1,
        workers=0,
    )
    return dataclasses.replace(recipe, **changes)


def training(folder: Path, out: Path, **changes: Any) -> Trainer[SftObjective]:
    model = GrounderConfig(str(folder / "model"), dtype="float32")
    return sft_trainer(recipe_of(folder, **changes), model, out, cpu_strategy())


def part(name: str) -> str:
    """The part of a weight of a learner, adapters included."""
    plain = name.removeprefix("model.").replace(".base_layer", "")
    return part_of(
        FAMILIES["qwen2_5_vl"], plain.split(".lora_")[0] + ".weight" if ".lora_" in plain else plain
    )


def losses(out: Path) -> list[float]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.parametrize("parts", [["language_model"], ["projector"], ["vision_tower", "projector"]])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_learns_moves_and_all_else_keeps_every_bit(
    folder: Path, tmp_path: Path, parts: list[str], method: str
) -> None:
    run = training(folder, tmp_path, tune=TuneSettings(method=method, parts=parts, rank=2), weight_decay=0.01)
    before = {name: weight.detach().clone() for name, weight in run.strategy.model.named_parameters()}
    assert set(run.strategy.parameters) and all(part(name) in parts for name in run.strategy.parameters)
    if method == "full":
        assert {part(name) for name in run.strategy.parameters} == set(parts)
        assert all((part(name) in parts) == (name in run.strategy.parameters) for name in before)
    run.run()
    for name, weight in run.strategy.model.named_parameters():
        assert torch.equal(weight, before[name]) == (name not in run.strategy.parameters), name


def test_a_packed_row_has_the_loss_of_its_samples_apart(folder: Path) -> None:
    model = grounder(folder).model
    batch = batch_of(folder)
    padded = GrounderForTraining(model, packed=False, trains_vision=True)(batch)
    use_packed_attention(model)
    packed = GrounderForTraining(model, packed=True, trains_vision=True)(batch)
    apart = sum(
        GrounderForTraining(model, True, True)(batch_of(folder, range(at, at + 1))) for at in range(6)
    )
    torch.testing.assert_close(packed, padded, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(packed, apart, rtol=1e-5, atol=1e-4)


def test_packed_gradients_are_those_of_padded_rows(folder: Path) -> None:
    def gradients(packed: bool) -> dict[str, torch.Tensor]:
        model = grounder(folder).model
        if packed:
            use_packed_attention(model)
        GrounderForTraining(model, packed, trains_vision=True)(batch_of(folder)).backward()
        return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}

    padded, packed = gradients(False), gradients(True)
    assert padded.keys() == packed.keys() and len(padded) > 20
    for name, gradient in padded.items():
        torch.testing.assert_close(packed[name], gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))


def test_a_model_that_attends_packed_answers_as_before(folder: Path) -> None:
    plan = PairPlan((index_path(folder, "tnllt", "all"),), PairSettings(), seed=5)
    source = PairQuestions(plan, BUILT_IN["short"])
    questions = [source[number].question for number in range(4)]
    plain, packing = grounder(folder), grounder(folder)
    use_packed_attention(packing.model)
    assert packing.locate(questions) == plain.locate(questions)


def test_logits_of_the_answers_alone_give_the_loss_of_all(folder: Path) -> None:
    model, batch = grounder(folder).model, batch_of(folder)
    inputs = batch.encoded.inputs
    features = encode_images(model, inputs["pixel_values"], inputs["image_grid_thw"])
    logits = forward(model, batch.encoded, features, use_cache=False).logits
    whole = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )
    torch.testing.assert_close(GrounderForTraining(model, False, True)(batch), whole, rtol=1e-5, atol=1e-4)
    assert batch.answer_tokens == int((batch.labels != IGNORED).sum()) > 6


def test_steps_take_every_pair_once_whoever_trains() -> None:
    whole = MicroBatchSampler(batch=8, micro_batch=3)
    assert whole.of_step(1) == [[8, 11, 14], [9, 12, 15], [10, 13]]
    halves = [MicroBatchSampler(8, 3, rank, 2).of_step(1) for rank in (0, 1)]
    assert [len(half) for half in halves] == [2, 2]
    assert sorted(number for half in halves for micro in half for number in micro) == list(range(8, 16))


@given(
    tokens=st.lists(st.integers(1, 4000), min_size=1, max_size=60),
    groups=st.integers(1, 12),
    spare=st.integers(0, 5),
)
def test_pairs_are_shared_out_evenly(tokens: list[int], groups: int, spare: int) -> None:
    groups = min(groups, len(tokens))
    most = -(-len(tokens) // groups) + spare
    made = balanced_groups(tokens, groups, most)
    assert sorted(place for group in made for place in group) == list(range(len(tokens)))
    assert len(made) == groups and all(0 < len(group) <= most for group in made)
    sums = [sum(tokens[place] for place in group) for group in made]
    if most >= len(tokens):  # Graham's bound: no group is above the mean by more than its last
        assert max(sums) <= sum(tokens) / groups + max(tokens)


def test_the_longest_are_shared_out_first() -> None:
    assert balanced_groups([1, 1, 1, 1, 4], num_groups=2, max_size=5) == [[4], [0, 1, 2, 3]]


def test_image_tokens_are_counted_without_reading(folder: Path) -> None:
    plan = PairPlan((index_path(folder, "tnllt", "all"),), PairSettings(template=0.5), seed=5)
    contract = dataclasses.replace(BUILT_IN["short"], search_size=(0, 0), min_pixels=28 * 28)
    source, counted = PairQuestions(plan, contract), ImageTokens(plan, contract).of(range(3, 23))
    shown = []
    for number in range(3, 23):
        question = source[number].question
        pictures = [question.image] + [question.template] * (question.template is not None)
        shown.append(sum(picture.shape[0] * picture.shape[1] for picture in pictures) // 28**2)
    assert len(set(shown)) == 4
    assert max(count - seen for count, seen in zip(counted, shown, strict=True)) == 4  # without a template
    assert min(count - seen for count, seen in zip(counted, shown, strict=True)) == 0


def test_no_micro_batch_is_above_its_tokens(folder: Path) -> None:
    plan = PairPlan((index_path(folder, "tnllt", "all"),), PairSettings(), seed=5)
    contract = dataclasses.replace(BUILT_IN["short"], search_size=(0, 0), min_pixels=28 * 28)
    tokens = ImageTokens(plan, contract)
    most = 2 * max(tokens.of(range(48)))
    halves = [MicroBatchSampler(12, 6, rank, 2, most, tokens) for rank in (0, 1)]
    for step in range(4):
        taken = [half.of_step(step) for half in halves]
        assert len(taken[0]) == len(taken[1]) > 1
        for micro in taken[0] + taken[1]:
            assert sum(tokens.of(range(number, number + 1))[0] for number in micro) <= most
        numbers = [number for half in taken for micro in half for number in micro]
        assert sorted(numbers) == list(range(12 * step, 12 * step + 12))
    assert [len(micro) for micro in MicroBatchSampler(6, 6, 0, 1, 1, tokens).of_step(0)] == [1] * 6


def test_how_a_step_is_cut_changes_nothing_that_is_learned(folder: Path, tmp_path: Path) -> None:
    tune = TuneSettings(rank=4, alpha=8)
    training(folder, tmp_path / "whole", tune=tune, micro_batch=4).run()
    training(folder, tmp_path / "cut", tune=tune, micro_batch=4, micro_tokens=30).run()
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)


@pytest.fixture
def in_half() -> Iterator[Accelerator]:
    """Arithmetic in bfloat16; accelerate keeps one precision for all."""
    AcceleratorState._reset_state()
    yield Accelerator(cpu=True, mixed_precision="bf16")
    AcceleratorState._reset_state()


@pytest.mark.parametrize("packed", [True, False])
def test_small_steps_of_weights_in_bfloat16_are_not_lost(
    folder: Path, tmp_path: Path, in_half: Accelerator, packed: bool
) -> None:
    model = GrounderConfig(str(folder / "model"), dtype="bfloat16")
    recipe = recipe_of(
        folder, tune=TuneSettings("full"), learning_rate=1e-6, schedule="constant", pairs=40, packing=packed
    )
    run = sft_trainer(recipe, model, tmp_path, DDPStrategy(in_half))
    before = {name: weight.detach().clone() for name, weight in run.strategy.parameters.items()}
    assert run.run()
    moved = [(weight - before[name]).abs().max() for name, weight in run.strategy.parameters.items()]
    assert all(weight.dtype == torch.float32 for weight in run.strategy.parameters.values())
    assert all(0 < float(each) <= 1.2e-5 for each in moved)
    saved = load_file(tmp_path / "final" / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "final" / "config.json").read_text())["dtype"] == "bfloat16"


def test_workers_change_nothing(folder: Path) -> None:
    def taken(workers: int) -> list[torch.Tensor]:
        plan = PairPlan((index_path(folder, "tnllt", "all"),), PairSettings(), seed=5)
        steps = load_steps(plan, grounder(folder).encoder, MicroBatchSampler(4, 2), range(1, 3), workers)
        return [batch.encoded.inputs["pixel_values"] for step in steps for batch in step]

    alone, helped = taken(0), taken(2)
    assert len(alone) == 4
    assert all(torch.equal(one, other) for one, other in zip(alone, helped, strict=True))


def test_pixels_come_in_the_type_of_the_arithmetic_and_lose_nothing_by_it(folder: Path) -> None:
    plan = PairPlan((index_path(folder, "tnllt", "all"),), PairSettings(), seed=5)
    model = grounder(folder).model.to(torch.bfloat16)
    kinds = (torch.float32, torch.bfloat16)
    whole, half = (
        next(load_steps(plan, grounder(folder).encoder, MicroBatchSampler(4, 4), range(1), 0, dtype=kind))[0]
        for kind in kinds
    )
    assert half.encoded.inputs["pixel_values"].dtype == torch.bfloat16
    with torch.no_grad():
        losses = [
            float(GrounderForTraining(model, packed=False, trains_vision=True)(batch))
            for batch in (whole, half)
        ]
    assert losses[0] == losses[1] > 0


def test_readers_go_by_the_cores_where_nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(24)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    gpu = torch.device("cuda")
    assert num_workers(None, gpu) == 3 and num_workers(None, CPU) == 1 and num_workers(0, gpu) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert num_workers(None, gpu) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "48")
    assert num_workers(None, gpu) == 1


def test_a_picture_that_cannot_be_shown_is_counted_until_it_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = dataclasses.replace(BUILT_IN["short"], search_size=(0, 0))
    plan = PairPlan((index_path(folder, "tnllt", "all"),), PairSettings(), seed=5)
    monkeypatch.setattr(PairSampler, "frame_sizes", lambda *_: iter([(4000, 10), (336, 224)]))
    assert ImageTokens(plan, contract).of(range(2)) == [1, 96 + 4]


def test_a_run_that_was_stopped_ends_as_an_unbroken_one(folder: Path, tmp_path: Path) -> None:
    whole = training(folder, tmp_path / "whole")
    assert whole.run()
    assert not training(folder, tmp_path / "broken").run(stop_after=3)
    again = training(folder, tmp_path / "broken")
    assert again.run() and again.step == 6
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    for name, weight in whole.strategy.parameters.items():
        assert torch.equal(weight, again.strategy.parameters[name]), name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_a_later_run_goes_on(
    folder: Path,
    tmp_path: Path,
    number: signal.Signals,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = training(folder, tmp_path)
    take = run.take_step

    def stopped(batches: Any) -> None:
        take(batches)
        if run.step == 3:
            signal.raise_signal(number)

    monkeypatch.setattr(run, "take_step", stopped)
    before = signal.getsignal(number)
    assert not run.run() and run.step == 3 and signal.getsignal(number) == before
    assert run.checkpoints.steps() == [2, 3]
    assert run.stop.status == (130 if number == signal.SIGINT else 0)
    assert ("Ctrl-C again ends at once" in capfd.readouterr().err) == (number == signal.SIGINT)
    assert training(folder, tmp_path).run()


def test_a_second_ctrl_c_ends_at_once_and_the_last_checkpoint_stays(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(folder, tmp_path, evaluate=[], checkpoint_every=1)
    save = run.strategy.save

    def interrupted(to: Path) -> None:
        save(to)
        if run.step == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(run.strategy, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    again = training(folder, tmp_path, evaluate=[], checkpoint_every=1)
    assert again.checkpoints.steps() == [1]
    assert again.run() and not list(tmp_path.rglob(".part-*"))


def test_a_signal_in_an_evaluation_ends_it_and_a_later_run_makes_it_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(folder, tmp_path / "broken", pairs=16)
    evaluate = run.objective.evaluator.evaluate

    def stopped(step: int) -> Evaluation:
        if step == 4:
            signal.raise_signal(signal.SIGTERM)
        return evaluate(step)

    monkeypatch.setattr(run.objective.evaluator, "evaluate", stopped)
    with pytest.raises(Stopped) as told:
        run.run()
    assert told.value.status == 0 and run.checkpoints.steps() == [2, 4]
    assert training(folder, tmp_path / "broken", pairs=16).run()
    assert training(folder, tmp_path / "whole", pairs=16).run()
    rows = [
        [json.loads(line).get("iou") for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("broken", "whole")
    ]
    assert rows[0] == rows[1]


def test_a_finished_run_is_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    training(folder, tmp_path, pairs=8).run()
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*.safetensors"))}
    training(folder, tmp_path, pairs=8).run()
    assert before and {path: path.read_bytes() for path in sorted(tmp_path.rglob("*.safetensors"))} == before


def test_a_folder_of_other_settings_is_refused(folder: Path, tmp_path: Path) -> None:
    training(folder, tmp_path, pairs=8).run(stop_after=1)
    with pytest.raises(UserError, match=r"other settings \(recipe.seed, recipe.tune.rank\)"):
        training(folder, tmp_path, pairs=8, seed=1, tune=TuneSettings(rank=2, alpha=8, dropout=0.1))


def test_adapters_merged_answer_as_adapters_attached(folder: Path, tmp_path: Path) -> None:
    run = training(
        folder, tmp_path, tune=TuneSettings(rank=4, alpha=8, parts=["language_model", "vision_tower"])
    )
    run.run()
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.float32)
    attached = PeftModel.from_pretrained(base, str(tmp_path / "final"))
    merging = Grounder.load(GrounderConfig(str(tmp_path / "final"), dtype="float32"), CPU)
    batch = batch_of(folder)
    with torch.no_grad():
        here = GrounderForTraining(run.objective.grounder.model.eval(), False, False)(batch)
        loaded = GrounderForTraining(attached.base_model.model.eval(), False, False)(batch)
        merged = GrounderForTraining(merging.model.eval(), False, False)(batch)
    untouched = GrounderForTraining(grounder(folder).model, False, False)(batch).detach()
    torch.testing.assert_close(loaded, here, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(merged, loaded, rtol=1e-4, atol=1e-4)
    assert abs(float(untouched - loaded)) > 0.1


def test_full_weights_load_again(folder: Path, tmp_path: Path) -> None:
    run = training(folder, tmp_path, tune=TuneSettings(method="full", parts=["language_model"]))
    run.run()
    loaded = Grounder.load(GrounderConfig(str(tmp_path / "final"), dtype="float32"), CPU)
    batch = batch_of(folder)
    with torch.no_grad():
        one, other = (
            GrounderForTraining(g.model.eval(), False, False)(batch) for g in (run.objective.grounder, loaded)
        )
    torch.testing.assert_close(one, other)


def test_bad_pairs_are_counted_and_too_many_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_video(tmp_path / "data", "wide", SIZES["wide"])
    build_index(TNLLT, tmp_path / "data", "all", tmp_path, workers=1)
    save_grounder(tmp_path / "model")
    (tmp_path / "data" / "wide" / "imgs" / "00002.png").write_bytes(b"no picture")
    with pytest.raises(
        UserError, match=r"of \d+ pairs cannot be read, more than recipe.max_unreadable.*=0.1"
    ):
        training(tmp_path, tmp_path / "few", max_unreadable_share=0.1).run()
    run = training(tmp_path, tmp_path / "many", max_unreadable_share=1.0)
    assert run.run() and run.objective.unreadable.count > 0
    assert f"{run.objective.unreadable.count} pairs could not be read and were left out" in caplog.messages


def test_a_micro_batch_without_a_readable_pair_has_no_loss(folder: Path) -> None:
    model = grounder(folder).model
    set_trainable(model, TuneSettings(rank=2), 0)
    learner = GrounderForTraining(model, packed=False, trains_vision=False)
    empty = collate(grounder(folder).encoder, [])
    loss = learner(empty)
    loss.backward()
    assert float(loss) == 0 and all(
        float(weight.grad.abs().sum()) == 0 for weight in trainable_parameters(learner).values()
    )


def _train_adapters(folder: Path, out: Path) -> None:
    training(folder, out, tune=TuneSettings(rank=4, alpha=8)).run()


def test_two_processes_learn_what_one_does(folder: Path, tmp_path: Path) -> None:
    _train_adapters(folder, tmp_path / "one")
    fork_processes(_train_adapters, (folder, tmp_path / "two"), 2)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_a_batch_that_processes_cannot_share_is_refused(folder: Path, tmp_path: Path) -> None:
    class Three:
        num_processes, process_index, is_main_process, device = 3, 0, True, CPU

    with pytest.raises(UserError, match="cannot be divided evenly among 3 processes"):
        group: Any = Three()
        sft_trainer(recipe_of(folder), GrounderConfig(str(folder / "model")), tmp_path, DDPStrategy(group))
