"""Labels and losses of the grounder's training by hand, and the figures that judge it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from data_prep.contract.chat import answer_of
from data_prep.contract.contract import BUILT_IN
from data_prep.geometry import Box
from data_prep.world.phrases import Expression
from data_prep.world.vocabulary import COLOURS, SHAPES
from models.grounder.nano import build_processor
from models.grounder.questions import QuestionEncoder
from models.interfaces import Answer, Question
from tests.scripted import ScriptedGrounding
from train.pairs import IGNORED, encode_answers, label_answers
from train.scratch.annotated_frames import AMBIGUOUS, NO_OBJECT, AnnotatedFrame, FrameObject
from train.scratch.grounder_losses import (
    DIGIT_WEIGHTS,
    LookHead,
    MatchHead,
    NamedHead,
    TokenMetrics,
    TokenWeights,
    look_loss,
    match_loss,
    named_loss,
    search_tokens,
    token_metrics,
    weighted_loss,
)
from train.scratch.grounder_metrics import evaluate_grounder
from train.scratch.questions import Sample
from train.soft_labels import SoftLabels

CONTRACT = BUILT_IN["short"]
PROCESSOR = build_processor()
TOKENIZER = PROCESSOR.tokenizer


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


# ---- labels --------------------------------------------------------------------------------------


def spelled(text: str) -> list[int]:
    ids: list[int] = TOKENIZER(text, add_special_tokens=False).input_ids
    return ids


def test_only_the_answer_is_learned() -> None:
    answers = [answer_of(CONTRACT, (1, 20, 112, 84)), answer_of(CONTRACT, None)]
    image = np.zeros((112, 112, 3), np.uint8)
    questions = [Question(image, "the red ball"), Question(image, "it", image[:30, :30])]
    _, labels = encode_answers(QuestionEncoder(PROCESSOR, CONTRACT), questions, answers)
    for row, answer in zip(labels, answers, strict=True):
        learned = row[row != IGNORED]
        assert TOKENIZER.decode(learned) == CONTRACT.format.start + answer + "<|im_end|>"
        assert (row[-len(learned) :] != IGNORED).all(), "it stands at the end"


def test_an_answer_that_merges_with_the_text_before_it_is_an_error() -> None:
    row = torch.tensor([spelled("found  true")])
    assert label_answers(torch.tensor([spelled("found true")]), [" true"], TOKENIZER)[0, -1] != IGNORED
    with pytest.raises(ValueError, match="do not end with those of its answer ' true'"):
        label_answers(row, [" true"], TOKENIZER)


def test_tokens_weigh_by_what_they_cost() -> None:
    decision, (hundreds, tens, units) = 3.0, DIGIT_WEIGHTS
    said = spelled(' true, "bbox_2d": [112,084,5]}')
    labels = torch.tensor([[IGNORED, IGNORED, *said], [IGNORED] * (len(said)) + spelled(" false}")])
    weights = TokenWeights(TOKENIZER, CONTRACT.format, decision)(labels)
    numbers = [TOKENIZER.decode([token]) for token in said[-10:]]
    assert numbers == ["1", "1", "2", ",", "0", "8", "4", ",", "5", "]}"]
    expected = [hundreds, tens, units, 1, hundreds, tens, units, 1, hundreds, 1]
    assert weights[0, -len(numbers) :].tolist() == pytest.approx(expected)
    assert weights[0, :3].tolist() == [0, 0, decision]
    assert weights[1].tolist() == [0.0] * len(said) + [decision, 1.0]


def test_a_fourth_digit_weighs_as_the_third() -> None:
    labels = torch.tensor([spelled("1234,5")])
    assert TokenWeights(TOKENIZER, CONTRACT.format, 3.0)(labels)[0].tolist() == pytest.approx(
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


def test_soft_labels_replace_those_of_digits() -> None:
    """Of the tokens with soft labels, the divergence counts, with the weight of the token."""
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 20)
    labels, weights = torch.tensor([[IGNORED, 15, 7]]), torch.tensor([[0.0, 3.0, 1.0]])
    shares = torch.zeros(1, 2, 10)
    shares[0, 1] = torch.rand(10).softmax(0)
    soft = SoftLabels(shares, torch.arange(5, 15))
    scores = logits[0].log_softmax(-1)
    hard = -scores[0, 15]
    divergence = torch.nn.functional.kl_div(scores[1, 5:15], shares[0, 1], reduction="sum")
    by_hand = (3.0 * hard + divergence) / 4
    assert float(weighted_loss(logits, labels, weights, soft)) == pytest.approx(float(by_hand))


def test_right_answers_cost_nothing_and_wrong_ones_much() -> None:
    labels = torch.tensor([[IGNORED, 2, 1]])
    weights = (labels != IGNORED).float()
    right = torch.full((1, 3, 4), -30.0)
    right[0, 0, 2] = right[0, 1, 1] = 30.0
    assert float(weighted_loss(right, labels, weights)) < 1e-6
    assert float(weighted_loss(-right, labels, weights)) > 10


# ---- what vision tokens show ---------------------------------------------------------------------


def thing(colour: str, shape: str, box: Box | None = None) -> FrameObject:
    return FrameObject(colour, shape, box, box is not None, False, ())


def shot(owner: Sequence[Sequence[int]], *things: FrameObject) -> AnnotatedFrame:
    """A shot of black pixels."""
    rows, columns = len(owner), len(owner[0])
    image = np.zeros((28 * rows, 28 * columns, 3), np.uint8)
    return AnnotatedFrame(image, things, np.array(owner, np.int8), (None,) * len(things))


BALL, RING = thing("red", "ball", (7, 0, 35, 28)), thing("blue", "ring", (20, 21, 84, 56))
STAR = thing("red", "star", (56, 0, 84, 28))
FULL = shot([[0, NO_OBJECT, AMBIGUOUS], [1, 1, NO_OBJECT]], BALL, RING)
STARRY = shot(
    [[AMBIGUOUS, NO_OBJECT, 2], [NO_OBJECT, NO_OBJECT, NO_OBJECT]],
    thing("red", "ring"),
    thing("white", "moon"),
    STAR,
)
EMPTY = shot([[NO_OBJECT] * 3] * 2, thing("green", "box"))


def look_head() -> LookHead:
    """A head that says of a token what the token is."""
    width = len(COLOURS) + len(SHAPES) + 6
    head = LookHead(width)
    with torch.no_grad():
        head.out.weight.copy_(torch.eye(width))
        head.out.bias.zero_()
    return head


def look(features: torch.Tensor, *shots: AnnotatedFrame) -> float:
    return float(look_loss(look_head(), features, shots).detach())


def said_by(shots: int) -> torch.Tensor:
    """Random features of shots of two by three tokens."""
    return torch.randn(shots, 6, len(COLOURS) + len(SHAPES) + 6, generator=torch.Generator().manual_seed(0))


def test_the_look_loss_by_hand() -> None:
    said = said_by(2)
    owned = {(0, 0): BALL, (0, 3): RING, (0, 4): RING, (1, 2): STAR}
    free = [(0, 1), (0, 5), (1, 1), (1, 3), (1, 4), (1, 5)]
    surprises: dict[str, list[torch.Tensor]] = {"colour": [], "shape": []}
    misses = []
    for row, token in [*owned, *free]:
        colours, shapes, edges = said[row, token].split([len(COLOURS) + 1, len(SHAPES) + 1, 4])
        shown = owned.get((row, token))
        colour = list(COLOURS).index(shown.colour) if shown else len(COLOURS)
        shape = list(SHAPES).index(shown.shape) if shown else len(SHAPES)
        surprises["colour"].append(-colours.log_softmax(0)[colour])
        surprises["shape"].append(-shapes.log_softmax(0)[shape])
        if shown and shown.box_resized:
            left, top, right, bottom = (side / 28 for side in shown.box_resized)
            x, y = token % 3 + 0.5, token // 3 + 0.5
            misses.append(edges - torch.tensor([x - left, y - top, right - x, bottom - y]))
    far = torch.stack(misses).abs()
    smooth = torch.where(far < 0.1, far**2 / 0.2, far - 0.05)
    by_hand = sum(torch.stack(each).mean() for each in surprises.values()) + smooth.mean()
    assert look(said, FULL, STARRY) == pytest.approx(float(by_hand), rel=1e-5)


def test_unclear_tokens_are_not_asked_what_they_show() -> None:
    said = said_by(1)
    for token, counts in enumerate((True, True, False, True, True, True)):
        changed = said.clone()
        changed[0, token, :20] += torch.arange(20)
        assert (look(changed, FULL) != look(said, FULL)) == counts


def test_edges_are_asked_of_owned_tokens_alone() -> None:
    said = said_by(1)
    for token, counts in enumerate((True, False, False, True, True, False)):
        changed = said.clone()
        changed[0, token, -4:] += 1
        assert (look(changed, FULL) != look(said, FULL)) == counts
    changed = said.clone()
    changed[..., -4:] += 1
    assert look(changed, EMPTY) == look(said, EMPTY) > 0


def test_look_figures_count_tokens_that_show_a_thing() -> None:
    truth = {0: ("red", "ball"), 3: ("blue", "ring"), 4: ("blue", "ring")}
    told = {0: ("red", "ball"), 3: ("blue", "ball"), 4: ("red", "ball")}
    said = torch.zeros(1, 6, len(COLOURS) + len(SHAPES) + 6)
    for token, (colour, shape) in told.items():
        said[0, token, list(COLOURS).index(colour)] = 1
        said[0, token, len(COLOURS) + 1 + list(SHAPES).index(shape)] = 1
    boxes = {0: BALL.box_resized, 3: RING.box_resized, 4: RING.box_resized}
    for token in truth:
        x, y = token % 3 + 0.5, token // 3 + 0.5
        left, top, right, bottom = (side / 28 for side in boxes[token] or ())
        said[0, token, -4:] = torch.tensor([x - left, y - top, right - x, bottom - y + 2])
    found = token_metrics(look_head(), said, [FULL])
    assert found.colour == pytest.approx(2 / 3) and found.shape == pytest.approx(1 / 3)
    assert found.edges == pytest.approx(0.5)
    assert str(TokenMetrics(0.5, 0.25, 1)) == "colour 0.500  shape 0.250  edges off by 1.00 tokens"


# ---- what of it the words mean -------------------------------------------------------------------


def asked(about: AnnotatedFrame, index: int | None, colour: str | None, shape: str | None) -> Sample:
    return Sample(Question(about.image, ""), about, Expression("", "attribute", colour, shape), index)


def match_head() -> MatchHead:
    """A head that says of a token what the token is."""
    head: Any = MatchHead(7)
    head.norm = nn.Identity()
    with torch.no_grad():
        head.out.weight.copy_(torch.eye(7))
        head.out.bias.zero_()
    return head


def match(hidden: torch.Tensor, *samples: Sample) -> float:
    return float(match_loss(match_head(), hidden, samples, (84, 56)).detach())


def hidden_of(samples: int) -> torch.Tensor:
    return torch.randn(samples, 6, 7, generator=torch.Generator().manual_seed(0))


SAMPLES = asked(FULL, 1, "blue", "ring"), asked(FULL, None, "red", None), asked(STARRY, 2, None, "star")


def test_the_match_loss_by_hand() -> None:
    hidden = hidden_of(3)
    owners = [[0, NO_OBJECT, AMBIGUOUS, 1, 1, NO_OBJECT]] * 2 + [
        [AMBIGUOUS, NO_OBJECT, 2, NO_OBJECT, NO_OBJECT, NO_OBJECT]
    ]
    terms: dict[str, list[torch.Tensor]] = {"colour": [], "shape": [], "target": [], "box": []}
    for row, (sample, tokens) in enumerate(zip(SAMPLES, owners, strict=True)):
        for token, owner in enumerate(tokens):
            colour, shape, target, *box = hidden[row, token]
            if owner == AMBIGUOUS:
                continue
            on_target = owner >= 0 and owner == sample.thing
            terms["target"].append(-3 * F.logsigmoid(target) if on_target else -F.logsigmoid(-target))
            if owner >= 0:
                owning = sample.frame.things[owner]
                for name, logit in (("colour", colour), ("shape", shape)):
                    if named := getattr(sample.phrase, name):
                        sign = 1 if named == getattr(owning, name) else -1
                        terms[name].append(-F.logsigmoid(sign * logit))
            if on_target:
                truth = torch.tensor(sample.box_resized) / torch.tensor([84, 56, 84, 56])
                terms["box"].append((torch.stack(box).sigmoid() - truth).abs().mean())
    assert {name: len(each) for name, each in terms.items()} == {
        "colour": 6,
        "shape": 4,
        "target": 15,
        "box": 3,
    }
    mean = {name: float(torch.stack(each).mean()) for name, each in terms.items()}
    by_hand = mean["target"] + 0.5 * mean["colour"] + 0.5 * mean["shape"] + 4 * mean["box"]
    assert match(hidden, *SAMPLES) == pytest.approx(by_hand, rel=1e-5)


COLOUR, SHAPE, TARGET, SIDES = 0, 1, 2, (3, 4, 5, 6)


@pytest.mark.parametrize(
    ("sample", "token", "counting"),
    [
        (asked(FULL, 1, "blue", "ring"), 3, {COLOUR, SHAPE, TARGET, *SIDES}),
        (asked(FULL, 1, "blue", "ring"), 0, {COLOUR, SHAPE, TARGET}),  # on another thing
        (asked(FULL, 1, "blue", "ring"), 1, {TARGET}),  # on none
        (asked(FULL, 1, "blue", "ring"), 2, set()),  # on none for sure
        (asked(FULL, 1, "blue", None), 3, {COLOUR, TARGET, *SIDES}),
        (asked(FULL, 1, None, "ring"), 3, {SHAPE, TARGET, *SIDES}),
        (asked(FULL, None, "red", "ring"), 3, {COLOUR, SHAPE, TARGET}),
        (asked(EMPTY, None, "red", "ring"), 3, {TARGET}),
    ],
)
def test_a_token_is_asked_what_can_be_known_of_it(sample: Sample, token: int, counting: set[int]) -> None:
    hidden = hidden_of(1)
    for output in range(7):
        changed = hidden.clone()
        changed[0, token, output] += 1
        assert (match(changed, sample) != match(hidden, sample)) == (output in counting), output


def test_the_named_loss_by_hand() -> None:
    """Every token is asked what the words name, whatever it shows; and nothing that they do not name."""
    width = len(COLOURS) + len(SHAPES)
    head: Any = NamedHead(width)
    head.norm = nn.Identity()
    with torch.no_grad():
        head.out.weight.copy_(torch.eye(width))
        head.out.bias.zero_()
    hidden = torch.randn(3, 6, width, generator=torch.Generator().manual_seed(0))
    parts = hidden.split([len(COLOURS), len(SHAPES)], dim=-1)
    colours, shapes = (-part.log_softmax(-1) for part in parts)
    blue, red = (list(COLOURS).index(colour) for colour in ("blue", "red"))
    ring, star = (list(SHAPES).index(shape) for shape in ("ring", "star"))
    by_hand = torch.cat([colours[0, :, blue], colours[1, :, red]]).mean()
    by_hand = by_hand + torch.cat([shapes[0, :, ring], shapes[2, :, star]]).mean()
    assert float(named_loss(head, hidden, SAMPLES).detach()) == pytest.approx(float(by_hand), rel=1e-5)
    only_colours = float(named_loss(head, hidden[1:2], SAMPLES[1:2]).detach())
    assert only_colours == pytest.approx(float(colours[1, :, red].mean()), rel=1e-5)


def test_the_search_pictures_tokens_are_found_behind_a_templates() -> None:
    """And they stand row by row, as owners do."""
    budget = 8 * 5 * 28 * 28
    contract = dataclasses.replace(CONTRACT, search_size=(0, 0), min_pixels=budget, max_pixels=budget)
    encoder = QuestionEncoder(PROCESSOR, contract)
    image = np.zeros((140, 224, 3), np.uint8)
    image[3 * 28 : 4 * 28, 6 * 28 : 7 * 28] = 255  # the fourth row's seventh token
    template = np.full((40, 40, 3), 255, np.uint8)
    inputs = encoder.encode([Question(image, "the red ball", template), Question(image, "it")], "").inputs
    pad = TOKENIZER.convert_tokens_to_ids("<|image_pad|>")
    positions = search_tokens(inputs["input_ids"], pad, 40)
    assert positions.shape == (2, 40)
    for row, ids in zip(positions, inputs["input_ids"], strict=True):
        start = int((ids == TOKENIZER.convert_tokens_to_ids("<|vision_start|>")).nonzero()[-1, 0])
        assert row.tolist() == list(range(start + 1, start + 41))
    light = inputs["pixel_values"][-160:].reshape(40, -1).min(1).values > 0.9
    assert light.nonzero().tolist() == [[3 * 8 + 6]]


# ---- figures -------------------------------------------------------------------------------------


class Scripted(ScriptedGrounding):
    """A grounder that gives the answers of a list."""

    def __init__(self, answers: list[Answer]) -> None:
        super().__init__({})
        self.answers = answers

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        assert len(questions) == len(self.answers)
        return self.answers


def test_figures_of_known_answers() -> None:
    box, other = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)
    about = shot(
        [[NO_OBJECT, NO_OBJECT]], thing("red", "ball", box), thing("red", "ring", other), thing("red", "star")
    )
    rows: list[tuple[int | None, float, Box | None]] = [
        (0, 0.9, box),  # right
        (0, 0.6, (0.0, 0.0, 10.0, 5.0)),  # half of it
        (0, 0.9, other),  # on the other thing
        (0, 0.1, None),  # nothing read, and not seen
        (None, 0.2, None),  # rightly absent
        (None, 0.7, box),  # and not
    ]
    truths = [asked(about, index, None, None) for index, _, _ in rows]
    answers = [Answer(visible, found, 1.0, "") for _, visible, found in rows]
    figures = evaluate_grounder(Scripted(answers), truths)
    assert figures.iou == pytest.approx(1.5 / 4)
    assert figures.success == figures.binding == 0.5
    assert figures.visible_accuracy == pytest.approx(4 / 6)
    assert figures.absent_precision == figures.absent_recall == 0.5
    assert figures.unread == pytest.approx(2 / 6)
    assert figures.small_iou == figures.iou, "a side of 10 pixels is small"
    # Bins of a tenth: 0.1 | 0.2 | 0.6 | 0.7 | 0.9 twice, in this order.
    assert figures.ece == pytest.approx((0.9 + 0.2 + 0.4 + 0.7 + 0.2) / 6)
    large = shot([[NO_OBJECT, NO_OBJECT]], thing("red", "ball", (0.0, 0.0, 40.0, 30.0)))
    (answer,), (truth,) = [answers[0]], [asked(large, 0, None, None)]
    assert evaluate_grounder(Scripted([answer]), [truth]).small_iou == 0
    strict = evaluate_grounder(Scripted(answers), truths, visible_threshold=0.65)
    assert strict.absent_precision == pytest.approx(1 / 3) and strict.absent_recall == 0.5
