"""Soft labels of a box's numbers: what near numbers share, and the loss they give."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.contract.chat import answer_text
from data_prep.contract.contract import BUILT_IN
from models.grounder.nano import build_tokenizer
from train.pairs import IGNORED, label_answers
from train.soft_labels import (
    _deviations,
    digit_distributions,
    numbers_of,
    sampled_box,
    soft_labels,
    soft_loss,
)

TOKENIZER = build_tokenizer()


@settings(deadline=None)  # a busy machine pauses it
@given(
    value=st.integers(0, 2000),
    deviation=st.floats(0.1, 30).map(lambda x: round(x, 1)),
    fill=st.sampled_from([0, 4]),
)
def test_digits_one_by_one_are_the_gaussian_of_whole_numbers(value: int, deviation: float, fill: int) -> None:
    """The product of the true digits' shares is the true number's among those that are as long."""
    text = str(value).zfill(fill)
    rows = digit_distributions(value, deviation, fill)
    assert all(math.isclose(sum(row), 1) for row in rows) and len(rows) == len(text)
    product = math.prod(row[int(digit)] for row, digit in zip(rows, text, strict=True))
    weights = {
        other: math.exp(-0.5 * ((other - value) / deviation) ** 2)
        for other in range(max(0, value - math.ceil(3 * deviation)), value + math.ceil(3 * deviation) + 1)
    }
    if fill:
        assert product == pytest.approx(1 / sum(weights.values()))
    else:  # numbers of fewer digits end before, so that they have a larger share in the first ones
        assert 0 < product <= 1


@settings(deadline=None)
@given(
    value=st.integers(20, 600).map(lambda x: x / 2),
    deviation=st.floats(0.3, 12).map(lambda x: round(x, 1)),
    shift=st.floats(-1, 1),
)
def test_labels_of_a_number_that_is_almost_right_lead_back(
    value: float, deviation: float, shift: float
) -> None:
    """Behind the digits of another number, the labels are those of the Gaussian around the true one."""
    read = max(0, round(value + 2 * shift * deviation))
    rows = digit_distributions(value, deviation, 3, read)
    numbers = range(math.floor(value) - 40, math.ceil(value) + 41)
    reach = math.ceil(3 * deviation)
    weights = {
        f"{other:03d}": math.exp(-0.5 * ((other - value) / deviation) ** 2)
        for other in numbers
        if max(0, math.floor(value) - reach) <= other <= math.ceil(value) + reach
    }
    for place, row in enumerate(rows):
        begun = {text: weight for text, weight in weights.items() if text[:place] == f"{read:03d}"[:place]}
        expected = [sum(weight for text, weight in begun.items() if text[place] == str(d)) for d in range(10)]
        assert row == pytest.approx([share / sum(begun.values()) for share in expected])


def test_sampled_boxes_are_spread_as_the_labels() -> None:
    rng, box = np.random.default_rng(0), (100.5, 20.0, 160.5, 30.0)
    drawn = np.array([sampled_box(rng, box, 0.05) for _ in range(400)])
    assert np.allclose(drawn.mean(0), box, atol=0.5) and np.array_equal(drawn, drawn.round())
    assert np.allclose(drawn.std(0), (3.0, 0.6, 3.0, 0.6), atol=0.3)
    assert sampled_box(rng, (0.0, 0.0, 300.0, 300.0), 0.05)[0] >= 0


def test_answers_with_sampled_boxes_have_the_labels_of_the_true_one() -> None:
    true, read = (55.0, 25.0, 155.0, 75.0), (58.0, 25.0, 152.0, 77.0)
    rows = [answer_text(BUILT_IN["short"], box, (336, 224)) for box in (read, None)]
    ids = TOKENIZER(rows, padding=True, padding_side="left", return_tensors="pt").input_ids
    labels = label_answers(ids, rows, TOKENIZER)
    soft = soft_labels(labels, TOKENIZER, 3, 0.05, [true, None]).shares
    digits = soft[0][soft[0].sum(1) > 0].view(4, 3, 10)
    expected = digit_distributions(55.0, 5.0, 3, 58)
    assert digits[0].tolist() == [pytest.approx(row) for row in expected]
    assert int(digits[0, 2].argmax()) == 5 and soft[1].sum() == 0


def test_near_digits_share_and_far_ones_do_not() -> None:
    hundreds, tens, ones = digit_distributions(100, 2.0, 3)
    assert hundreds[1] > hundreds[0] > 0.3 and sum(hundreds[2:]) == 0
    assert tens[0] == 1.0 and ones[0] > ones[1] > ones[2] > ones[5] > 0 and ones[9] == 0
    assert digit_distributions(7, 1e-9, 3) == (tuple([1.0] + [0.0] * 9),) * 2 + (
        tuple([0.0] * 7 + [1.0] + [0.0] * 2),
    )


@pytest.mark.parametrize("name", ["short", "instruct", "instruct3"])
def test_the_four_numbers_of_an_answer_are_soft_and_nothing_else(name: str) -> None:
    contract = BUILT_IN[name]
    boxes = [(10.0, 20.0, 110.0, 220.0), None, (5.0, 100.0, 9.0, 104.0)]
    answers = [answer_text(contract, box, (336, 224)) for box in boxes]
    rows = TOKENIZER(
        ["words:" * 5 + answer for answer in answers], padding=True, return_tensors="pt"
    ).input_ids
    labels = label_answers(rows, answers, TOKENIZER)
    soft = soft_labels(labels, TOKENIZER, contract.digits, 0.05)
    shares = soft.of_answers(labels)
    targets = labels[labels != IGNORED]
    softened = shares.sum(1) > 0
    torch.testing.assert_close(shares.sum(1)[softened], torch.ones(int(softened.sum())))
    said = "".join(TOKENIZER.decode([token]) for token in targets[softened].tolist())
    wanted = "".join(answers[row].split("[")[1].replace("]", "").replace("}", "") for row in (0, 2))
    assert said == wanted.replace(",", "").replace(" ", "")
    assert (soft.tokens[shares[softened].argmax(1)] == targets[softened]).float().mean() > 0.6


def test_labels_are_as_wide_as_the_target() -> None:
    """Left and right go by its width, top and bottom by its height."""
    contract = BUILT_IN["short"]
    answer = answer_text(contract, (55.0, 25.0, 155.0, 29.0), (336, 224))
    row = TOKENIZER([answer], return_tensors="pt").input_ids
    labels = label_answers(row, [answer], TOKENIZER)
    shares = soft_labels(labels, TOKENIZER, contract.digits, 0.05).of_answers(labels)
    units = shares[shares.sum(1) > 0].view(4, 3, 10)[:, 2].max(1).values
    assert all(units[[0, 2]] < 0.2) and all(units[[1, 3]] > 0.9)


def test_names_hold_digits_that_are_no_numbers() -> None:
    assert numbers_of([None, 2, None, 1, 0, None, 3, None, 4, None, 5, 6]) == [
        (3, [1, 0]),
        (6, [3]),
        (8, [4]),
        (10, [5, 6]),
    ]
    assert numbers_of([None, 2, None]) == []


def test_the_loss_is_a_divergence_where_labels_are_soft() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 20), torch.tensor([3, 15, 7, 19])
    shares = torch.zeros(4, 10)
    shares[0] = torch.rand(10).softmax(0)
    digits = torch.arange(5, 15)
    wanted = torch.nn.functional.cross_entropy(logits[1:], targets[1:], reduction="sum")
    scores = logits[0].log_softmax(0)[5:15]
    wanted += torch.nn.functional.kl_div(scores, shares[0], reduction="sum")
    torch.testing.assert_close(soft_loss(logits, targets, shares, digits), wanted)
    shares[0] = torch.eye(10)[2]  # a label as it stands
    hard = torch.nn.functional.cross_entropy(logits, torch.tensor([7, 15, 7, 19]), reduction="sum")
    torch.testing.assert_close(soft_loss(logits, targets, shares, digits), hard)


@pytest.mark.parametrize("width", [0.0, 0.001, 0.02, 0.3])
def test_hard_labels_of_boxes_between_two_numbers_have_weights(width: float) -> None:
    deviations = _deviations((10.5, 10.5, 13.0, 13.0), width)
    assert all(each > 0 for each in deviations)
    for deviation in deviations:
        digits = digit_distributions(12.5, deviation, 3, 12)
        assert [pytest.approx(1.0)] * 3 == [sum(each) for each in digits]
