"""The grounder's training: samples, labels and losses by hand, and a loop that goes on by itself."""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.errors import UserError
from data_prep.geometry import Box, center, iou
from data_prep.prompts import BUILT_IN, answer_text
from data_prep.world.presets import PRESETS
from data_prep.world.scene import make_scene
from data_prep.world.vocabulary import COLOURS, SHAPE_NAMES
from data_prep.world.words import plainly
from models.config import GrounderConfig
from models.grounder import Answer, Grounder
from models.nano import build_processor
from models.questions import Question, QuestionEncoder
from train import grounder as recipe_module
from train.answers import DIGIT_WEIGHTS, IGNORED, TokenWeights, label_answers, weighted_loss
from train.auxiliary import TokenHead, on_target, search_tokens, token_loss
from train.config import GrounderRecipe, Stage
from train.grounder import HELD_OUT, GrounderTraining, stage_contract, train_grounder
from train.grounder_figures import measure
from train.samples import Sample, SampleMix, _replaced, draw_sample
from train.schedule import warmup_stable_decay

CPU = torch.device("cpu")
CONTRACT = BUILT_IN["short"]
PROCESSOR = build_processor()
TOKENIZER = PROCESSOR.tokenizer
RECIPE = GrounderRecipe(
    width=32,
    layers=2,
    stages=[
        Stage(preset="plain", steps=2, batch=2, side_tokens=2, plain=True),
        Stage(preset="flat", steps=2, batch=4, side_tokens=3),
    ],
    warmup_steps=1,
    log_every=1,
    evaluate_every=3,
    evaluate_samples=3,
    checkpoint_every=2,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def train(out: Path) -> None:
    """Run the recipe to its end."""
    out.mkdir(exist_ok=True)
    train_grounder(RECIPE, out, CPU)


# ---- samples -------------------------------------------------------------------------------------

FLATS = ("plain", "mono", "flat")


def draw(preset: str, count: int, **shares: Any) -> list[Sample]:
    return [draw_sample(seed, PRESETS[preset], CONTRACT, SampleMix(**shares)) for seed in range(count)]


def same(first: Sample, second: Sample) -> bool:
    arrays = [(one.question.image, one.question.template) for one in (first, second)]
    rest = [
        (one.question.words, one.question.last_box_xyxy, one.box_xyxy, one.others) for one in (first, second)
    ]
    return rest[0] == rest[1] and all(np.array_equal(a, b) for a, b in zip(*arrays, strict=True))


@pytest.mark.parametrize("preset", ["flat", "train"])
def test_a_sample_follows_from_its_seed_alone(preset: str) -> None:
    first, again = draw(preset, 6), draw(preset, 6)[::-1]
    assert all(same(one, two) for one, two in zip(first, again[::-1], strict=True))
    assert len({sample.question.image.tobytes() for sample in first}) == 6


def colours_in(image: np.ndarray) -> set[str]:
    """The colour words whose exact colour is seen in a picture of flat colours."""
    return {name for name, rgb in COLOURS.items() if (image == rgb).all(axis=-1).sum() >= 12}


def colour_named(words: str) -> str:
    (colour,) = [colour for colour in COLOURS if colour in words.split()]
    return colour


@pytest.mark.parametrize("preset", FLATS)
def test_the_box_is_on_what_the_words_name(preset: str) -> None:
    for sample in draw(preset, 20, absent=0.0):
        assert sample.box_xyxy is not None
        left, top, right, bottom = (int(side) for side in sample.box_xyxy)
        inside = sample.question.image[top:bottom, left:right]
        named = (inside == COLOURS[colour_named(sample.question.words)]).all(axis=-1)
        assert named.mean() > 0.2
        assert all(iou(sample.box_xyxy, other) < 0.5 for other in sample.others)


@pytest.mark.parametrize("preset", FLATS)
def test_present_and_absent_differ_in_the_targets_place_alone(preset: str) -> None:
    """Whatever else differed would tell the answer without a look at the words."""
    shares = {"template": 0.5, "marked": 0.5}
    pairs = zip(draw(preset, 25, absent=0.0, **shares), draw(preset, 25, absent=1.0, **shares), strict=True)
    for present, absent in pairs:
        assert present.box_xyxy is not None and absent.box_xyxy is None
        assert len(absent.others) == len(present.others) + 1, "something stands in the target's place"
        one, two = present.question, absent.question
        assert (one.words, one.last_box_xyxy) == (two.words, two.last_box_xyxy)
        assert np.array_equal(one.template, two.template), "the template shows the target in any case"
        rows, columns = np.nonzero((one.image != two.image).any(axis=-1))
        x, y = center(present.box_xyxy)
        reach = 1.3 * 0.2 * 112 + 2  # the largest thing's corners
        assert rows.size and max(abs(columns - x).max(), abs(rows - y).max()) < 2 * reach


@pytest.mark.parametrize("preset", ["train", "val"])
def test_things_in_moving_scenes_are_as_many_with_and_without_the_target(preset: str) -> None:
    present, absent = draw(preset, 30, absent=0.0), draw(preset, 30, absent=1.0)
    more = [len(two.others) - len(one.others) for one, two in zip(present, absent, strict=True)]
    assert np.mean(more) == pytest.approx(1, abs=0.1)


def test_what_stands_in_the_targets_place_keeps_to_the_ways_of_its_world() -> None:
    look_alikes = []
    for name in (*FLATS, "train"):
        preset = PRESETS[name]
        for seed in range(60):
            scene = make_scene(preset.first_seed + seed, preset)
            chosen = seed % len(scene.things)
            replaced = _replaced(np.random.default_rng(seed), scene, chosen)
            before, after = (
                [(thing.colour, thing.shape) for thing in each.things] for each in (scene, replaced)
            )
            gone, new = before[chosen], after[chosen]
            assert gone not in after and len(set(after)) == len(after) == len(before)
            assert [look for i, look in enumerate(after) if i != chosen] == [
                look for i, look in enumerate(before) if i != chosen
            ]
            if preset.look_alikes == 0:
                assert len({c for c, _ in after}) == len({s for _, s in after}) == len(after)
            if preset.colours == 1:
                assert len({c for c, _ in after}) == 1, "a second colour would tell that something is amiss"
            elif preset.look_alikes:
                look_alikes.append(new[0] == gone[0] or new[1] == gone[1])
    assert np.mean(look_alikes) == pytest.approx(0.5, abs=0.15)


def test_shares_of_the_mix_are_kept() -> None:
    samples = draw("flat", 200, absent=0.3, template=0.2, marked=0.7)
    counts = np.mean(
        [
            (s.box_xyxy is None, s.question.template is not None, s.question.last_box_xyxy is not None)
            for s in samples
        ],
        axis=0,
    )
    assert counts == pytest.approx([0.3, 0.2, 0.7], abs=0.1)


def test_plain_words_are_always_the_same_for_a_look() -> None:
    plain = {sample.question.words for sample in draw("flat", 60, plain=True)}
    assert plain <= {plainly(colour, shape) for colour in COLOURS for shape in SHAPE_NAMES}
    assert not {sample.question.words for sample in draw("flat", 60, plain=False)} <= plain


def test_the_template_shows_the_target() -> None:
    for sample in draw("flat", 12, absent=0.5, template=1.0):
        template = sample.question.template
        assert template is not None and template.shape[0] == template.shape[1]
        assert colour_named(sample.question.words) in colours_in(template)


def test_the_last_box_is_near_the_target_unless_it_is_missed() -> None:
    def gaps(missed: float) -> list[float]:
        samples = draw("flat", 40, absent=0.0, marked=1.0, missed=missed)
        boxes = [(sample.question.last_box_xyxy, sample.box_xyxy) for sample in samples]
        return [math.dist(center(last), center(box)) for last, box in boxes if last and box]

    assert max(gaps(0.0)) < 12
    assert np.mean(gaps(1.0)) > 25


# ---- labels and losses ---------------------------------------------------------------------------


def spelled(text: str) -> list[int]:
    ids: list[int] = TOKENIZER(text, add_special_tokens=False).input_ids
    return ids


def test_only_the_answer_is_learned() -> None:
    answers = [answer_text(CONTRACT, (1, 20, 112, 84)), answer_text(CONTRACT, None)]
    image = np.zeros((112, 112, 3), np.uint8)
    questions = [Question(image, "the red ball"), Question(image, "it", image[:30, :30])]
    encoded = QuestionEncoder(PROCESSOR, CONTRACT).encode(questions, answers)
    labels = label_answers(encoded.inputs["input_ids"], answers, TOKENIZER)
    for row, answer in zip(labels, answers, strict=True):
        learned = row[row != IGNORED]
        assert TOKENIZER.decode(learned) == answer
        assert (row[-len(learned) :] != IGNORED).all(), "it stands at the end"


def test_tokens_weigh_by_what_they_cost() -> None:
    decision, (hundreds, tens, units) = 3.0, DIGIT_WEIGHTS
    said = spelled(' true, "bbox_2d": [112,084,5]}')
    labels = torch.tensor([[IGNORED, IGNORED, *said], [IGNORED] * (len(said)) + spelled(" false}")])
    weights = TokenWeights(TOKENIZER, decision)(labels)
    numbers = [TOKENIZER.decode([token]) for token in said[-10:]]
    assert numbers == ["1", "1", "2", ",", "0", "8", "4", ",", "5", "]}"]
    expected = [hundreds, tens, units, 1, hundreds, tens, units, 1, hundreds, 1]
    assert weights[0, -len(numbers) :].tolist() == pytest.approx(expected)
    assert weights[0, :3].tolist() == [0, 0, decision]
    assert weights[1].tolist() == [0.0] * len(said) + [decision, 1.0]


def test_a_fourth_digit_weighs_as_the_third() -> None:
    labels = torch.tensor([spelled("1234,5")])
    assert TokenWeights(TOKENIZER, 3.0)(labels)[0].tolist() == pytest.approx(
        [*DIGIT_WEIGHTS, DIGIT_WEIGHTS[-1], 1, DIGIT_WEIGHTS[0]]
    )


def test_the_loss_of_a_small_batch_by_hand() -> None:
    """Positions predict the token after them; each counts by its weight over all weights."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5)  # of the last three of six positions
    labels = torch.tensor([[IGNORED] * 4 + [1, 4], [IGNORED] * 5 + [2]])
    weights = torch.tensor([[0.0] * 4 + [3.0, 0.5], [0.0] * 5 + [2.0]])
    surprise = -logits.log_softmax(-1)
    by_hand = 3.0 * surprise[0, 0, 1] + 0.5 * surprise[0, 1, 4] + 2.0 * surprise[1, 1, 2]
    assert float(weighted_loss(logits, labels, weights)) == pytest.approx(float(by_hand) / 5.5)


def test_right_answers_cost_nothing_and_wrong_ones_much() -> None:
    labels = torch.tensor([[IGNORED, 2, 1]])
    weights = (labels != IGNORED).float()
    right = torch.full((1, 3, 4), -30.0)
    right[0, 0, 2] = right[0, 1, 1] = 30.0
    assert float(weighted_loss(right, labels, weights)) < 1e-6
    assert float(weighted_loss(-right, labels, weights)) > 10


@pytest.mark.parametrize(
    ("box", "grid", "resized", "marked"),
    [
        ((28, 28, 84, 56), (4, 4), (112, 112), [5, 6]),
        ((15, 15, 69, 41), (4, 4), (112, 112), [5]),  # only the middle of this one lies inside
        ((13, 13, 71, 43), (4, 4), (112, 112), [0, 1, 2, 4, 5, 6]),
        ((60, 90, 64, 92), (4, 4), (112, 112), [14]),  # smaller than a token
        ((110, 110, 112, 112), (4, 4), (112, 112), [15]),
        ((0, 112, 224, 140), (8, 5), (224, 140), list(range(32, 40))),  # the lowest row of eight by five
        ((196, 0, 224, 140), (8, 5), (224, 140), [7, 15, 23, 31, 39]),
        (None, (4, 4), (112, 112), []),
    ],
)
def test_tokens_on_the_target(
    box: Box | None, grid: tuple[int, int], resized: tuple[int, int], marked: list[int]
) -> None:
    marks = on_target([None, box], grid, resized)
    assert marks.shape == (2, grid[0] * grid[1]) and marks[0].sum() == 0
    assert marks[1].nonzero()[:, 0].tolist() == marked and set(marks.unique().tolist()) <= {0.0, 1.0}


def test_the_search_images_tokens_are_found_behind_a_templates() -> None:
    """And the token that a box marks is the one that sees the pixels in the box."""
    budget = 8 * 5 * 28 * 28
    contract = dataclasses.replace(CONTRACT, min_pixels=budget, max_pixels=budget)
    encoder = QuestionEncoder(PROCESSOR, contract)
    size, grid = (224, 140), (8, 5)
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[3 * 28 : 4 * 28, 6 * 28 : 7 * 28] = 255  # the fourth row's seventh token
    template = np.full((40, 40, 3), 255, np.uint8)
    questions = [Question(image, "the red ball", template), Question(image, "it")]
    inputs = encoder.encode(questions, "").inputs
    pad = TOKENIZER.convert_tokens_to_ids("<|image_pad|>")
    positions = search_tokens(inputs["input_ids"], pad, grid)
    assert positions.shape == (2, 40)
    for row, ids in zip(positions, inputs["input_ids"], strict=True):
        start = int((ids == TOKENIZER.convert_tokens_to_ids("<|vision_start|>")).nonzero()[-1, 0])
        assert row.tolist() == list(range(start + 1, start + 41))
    (seen,) = (inputs["pixel_values"][-160:].reshape(40, -1).min(1).values > 0.9).nonzero()[:, 0].tolist()
    (marked,) = on_target([(6 * 28, 3 * 28, 7 * 28, 4 * 28)], grid, size)[0].nonzero()[:, 0].tolist()
    assert seen == marked == 30


def test_the_auxiliary_loss_by_hand() -> None:
    head = TokenHead(8)
    torch.nn.init.zeros_(head.out.weight)
    torch.nn.init.zeros_(head.out.bias)  # every token says: one half, and a box of halves
    hidden, positions = torch.randn(2, 7, 8), torch.tensor([[2, 3, 4, 5], [3, 4, 5, 6]])
    loss = token_loss(head, hidden, positions, [(0, 0, 14, 28), None], (2, 2), (56, 56))
    which = math.log(2) * (3 * 1 + 7) / 8  # one token of eight lies on a target, and counts three times
    where = (0.5 + 0.5 + 0.25 + 0.0) / 4
    assert float(loss.detach()) == pytest.approx(which + 2 * where)
    absent = token_loss(head, hidden, positions, [None, None], (2, 2), (56, 56))
    assert float(absent.detach()) == pytest.approx(math.log(2))


def test_the_auxiliary_loss_reads_the_given_positions_alone() -> None:
    head = TokenHead(8)
    hidden, positions = torch.randn(1, 6, 8), torch.tensor([[1, 2, 4, 5]])
    changed = hidden.clone()
    changed[:, [0, 3]] += 5
    arguments = positions, [(0.0, 0.0, 28.0, 28.0)], (2, 2), (56, 56)
    assert torch.equal(token_loss(head, hidden, *arguments), token_loss(head, changed, *arguments))
    changed[:, 4] -= torch.arange(8)
    assert not torch.equal(token_loss(head, hidden, *arguments), token_loss(head, changed, *arguments))


# ---- schedule and stages -------------------------------------------------------------------------


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [warmup_stable_decay(step, 100, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10:60] == pytest.approx([1.0] * 50)
    assert all(after < before for before, after in itertools.pairwise(rates[60:]))
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_steps_belong_to_their_stages() -> None:
    training = GrounderTraining(RECIPE, Path("unused"), CPU)
    places = [training.stage_at(step) for step in range(4)]
    assert [(stage.preset, index) for stage, index in places] == [
        ("plain", 0),
        ("plain", 1),
        ("flat", 0),
        ("flat", 1),
    ]


def test_a_stage_has_its_own_resolution_and_nothing_else() -> None:
    small = stage_contract(CONTRACT, Stage(side_tokens=3))
    assert (small.min_pixels, small.max_pixels) == (9 * 784, 9 * 784)
    assert (
        dataclasses.replace(small, min_pixels=CONTRACT.min_pixels, max_pixels=CONTRACT.max_pixels) == CONTRACT
    )
    assert stage_contract(CONTRACT, Stage(side_tokens=0)) == CONTRACT


def test_an_empty_curriculum_is_refused() -> None:
    with pytest.raises(UserError, match="stages is empty"):
        GrounderTraining(dataclasses.replace(RECIPE, stages=[]), Path("unused"), CPU)


# ---- the loop ------------------------------------------------------------------------------------


def test_the_loss_falls_on_samples_seen_again_and_again() -> None:
    training = GrounderTraining(RECIPE, Path("unused"), CPU)
    contract = stage_contract(CONTRACT, RECIPE.stages[0])
    samples = draw("plain", 3, absent=0.4)
    before = float(training.loss(samples, contract).detach())
    for group in training.optimizer.param_groups:
        group["lr"] = 4e-3
    for _ in range(25):
        training.optimizer.zero_grad()
        loss = training.loss(samples, contract)
        loss.backward()
        training.optimizer.step()
    assert float(loss.detach()) < before / 2


def test_every_parameter_learns() -> None:
    training = GrounderTraining(RECIPE, Path("unused"), CPU)
    named = dict(training.model.named_parameters()) | dict(training.token_head.named_parameters())
    before = {name: weight.detach().clone() for name, weight in named.items()}
    for _ in range(3):  # what a zero multiplies at first moves a step later
        training.take_step()
    assert all(weight.requires_grad for weight in named.values())
    assert [name for name, weight in named.items() if torch.equal(weight, before[name])] == []


def test_the_auxiliary_head_is_learned_through_the_same_net() -> None:
    training = GrounderTraining(RECIPE, Path("unused"), CPU)
    contract = stage_contract(CONTRACT, RECIPE.stages[0])
    samples = draw("plain", 2, absent=0.0)
    full = float(training.loss(samples, contract).detach())
    without = GrounderTraining(dataclasses.replace(RECIPE, token_weight=0.0), Path("unused"), CPU)
    without.token_head.load_state_dict(training.token_head.state_dict())
    assert full > float(without.loss(samples, contract).detach()) > 0


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    training = GrounderTraining(RECIPE, Path("unused"), CPU)
    with torch.no_grad():
        training.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="step 0"):
        training.take_step()


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """Preset and seed of every sample drawn."""
    drawn: list[tuple[str, int]] = []

    def record(seed: int, preset: Any, *rest: Any) -> Sample:
        drawn.append((preset.name, seed))
        return draw_sample(seed, preset, *rest)

    monkeypatch.setattr(recipe_module, "draw_sample", record)
    return drawn


def test_each_sample_is_drawn_once_and_held_out_ones_never(
    seeds: list[tuple[str, int]], tmp_path: Path
) -> None:
    train(tmp_path / "run")
    held_out = [(preset, seed) for preset, seed in seeds if seed >= HELD_OUT]
    learned = [pair for pair in seeds if pair not in held_out]
    batches = sum(stage.steps * stage.batch for stage in RECIPE.stages)
    assert [seed for _, seed in learned] == list(range(batches))
    assert [preset for preset, _ in learned] == ["plain"] * 4 + ["flat"] * 8
    assert held_out == [("flat", HELD_OUT + index) for index in (0, 1, 2)] * 2


def test_held_out_scenes_belong_to_no_other_preset() -> None:
    firsts = sorted(preset.first_seed for preset in PRESETS.values())
    for first in firsts:
        following = [other for other in firsts if other > first]
        assert not following or first + HELD_OUT + 1_000_000 < min(following)


def interrupted(out: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is cut after some steps."""
    take_step, taken = GrounderTraining.take_step, []

    def cut(self: GrounderTraining) -> Any:
        if len(taken) == after:
            raise KeyboardInterrupt
        taken.append(1)
        return take_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(GrounderTraining, "take_step", cut)
        with pytest.raises(KeyboardInterrupt):
            train(out)


def test_a_run_that_was_cut_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole)
    interrupted(cut, 3, monkeypatch)  # saved after two steps, at the end of the first stage
    assert not (cut / "model").exists()
    train(cut)
    states = [torch.load(folder / "state.pt", weights_only=True) for folder in (whole, cut)]
    for part in ("model", "token_head"):
        one, two = (state[part] for state in states)
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert states[0]["step"] == states[1]["step"] == 4
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "iou" in row] == [3, 4]
    assert [row["step"] for row in rows if "lr" in row] == [1, 2, 3, 4]


def test_a_finished_run_leaves_a_grounder(tmp_path: Path) -> None:
    train(tmp_path / "run")
    grounder = Grounder.load(GrounderConfig(str(tmp_path / "run" / "model")), CPU)
    assert grounder.contract == BUILT_IN[RECIPE.contract]
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["model"]
    read = grounder.model.state_dict()
    assert all(torch.equal(weight, read[name]) for name, weight in state.items())
    assert not any("token_head" in name for name in read)


def test_the_state_of_another_recipe_is_refused(tmp_path: Path) -> None:
    training = GrounderTraining(RECIPE, tmp_path, CPU)
    training.save_state()
    for changes in ({"clip": 0.5}, {"stages": RECIPE.stages[:1]}, {"seed": 1}):
        other = GrounderTraining(dataclasses.replace(RECIPE, **changes), tmp_path, CPU)
        with pytest.raises(UserError, match=r"state\.pt: was trained by other settings") as refusal:
            other.resume()
        assert "\n" not in str(refusal.value)
    GrounderTraining(RECIPE, tmp_path, CPU).resume()


# ---- figures -------------------------------------------------------------------------------------


class Scripted:
    """A grounder that says what it is told to."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = answers

    def locate(self, questions: list[Question]) -> list[Answer]:
        assert len(questions) == len(self.answers)
        return self.answers


def test_figures_of_known_answers() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    box, other = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)
    pairs: list[tuple[Box | None, float, Box | None]] = [
        (box, 0.9, box),  # right
        (box, 0.6, (0.0, 0.0, 10.0, 5.0)),  # half of it
        (box, 0.9, other),  # on the other thing
        (box, 0.1, None),  # nothing read, and not seen
        (None, 0.2, None),  # rightly absent
    ]
    samples = [Sample(Question(image, "x"), truth, (other,)) for truth, _, _ in pairs]
    answers = [Answer(visible, found, 1.0, "") for _, visible, found in pairs]
    figures = measure(Scripted(answers), samples)  # type: ignore[arg-type]
    assert figures.iou == pytest.approx(1.5 / 4)
    assert figures.success == figures.binding == 0.5
    assert figures.visible_accuracy == 0.8
    assert figures.unread == 0.4
