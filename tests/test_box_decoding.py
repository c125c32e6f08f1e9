"""Ways of decoding boxes (`model.decode`): medians of coordinates, and of several boxes."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.drafts_check import boxes_only, build_small, check_drafts
from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN
from models.config import NANO, GrounderConfig
from models.config_checks import check_inference_keys, check_server_decoding
from models.grounder.box_decoding import NUM_SAMPLES, decoding_of, median_answer, sample_quantiles
from models.grounder.digit_choice import QuantileDigits, order_around
from models.grounder.grounder import Grounder
from models.interfaces import Answer, Question

DIGITS = list(range(100, 110))  # token ids of 0 to 9
END = 7  # the token behind a number
IMAGE = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
QUESTIONS = [
    Question(IMAGE, "the red cup", None, (100.0, 80.0, 132.0, 116.0)),
    Question(IMAGE, "it", IMAGE[:50, :50].copy()),
    Question(IMAGE, "a dog"),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


# ---- digits --------------------------------------------------------------------------------------


def decoded(shares: Mapping[str, float], quantile: float, is_padded: bool) -> str:
    """The number that is decoded of a distribution over texts of numbers, by its conditional digits."""
    chooser, text = QuantileDigits(DIGITS, is_padded, [quantile] * 4), ""
    while True:
        following = dict.fromkeys([*"0123456789", ""], 0.0)
        for number, share in shares.items():
            if number.startswith(text):
                following[number[len(text) : len(text) + 1]] += share
        total = sum(following.values())
        scores = {key: math.log(share / total) if share else -math.inf for key, share in following.items()}
        best = max(scores, key=lambda key: scores[key])
        token, _ = chooser.choose(
            END if best == "" else DIGITS[int(best)], scores[best], [scores[digit] for digit in "0123456789"]
        )
        if token == END:
            return text
        text += str(DIGITS.index(token))


@settings(max_examples=60, deadline=None)
@given(
    shares=st.dictionaries(st.integers(0, 999), st.integers(1, 50), min_size=1, max_size=12),
    quantile=st.floats(0.01, 0.99),
)
def test_padded_digits_are_the_quantile_of_the_numbers(shares: dict[int, int], quantile: float) -> None:
    number = int(decoded({f"{key:03d}": share for key, share in shares.items()}, quantile, True))
    # The first number up to which the shares are more than the quantile.
    total, sums = sum(shares.values()), itertools.accumulate(shares[key] for key in sorted(shares))
    cumulative = dict(zip(sorted(shares), (each / total for each in sums), strict=True))
    assert shares.get(number)
    assert cumulative[number] >= quantile - 1e-9
    assert cumulative[number] - shares[number] / total <= quantile + 1e-9


def gaussian(middle: float, deviation: float) -> dict[str, float]:
    return {
        str(number): math.exp(-0.5 * ((number - middle) / deviation) ** 2)
        for number in range(max(0, round(middle - 3 * deviation)), round(middle + 3 * deviation))
    }


@pytest.mark.parametrize("middle", [4.3, 9.8, 57.1, 98.6, 101.2, 250.4, 999.0, 1003.4])
def test_numbers_that_are_not_padded_stay_near_their_median(middle: float) -> None:
    """Also where they may have a digit more or fewer: 99 and 100 are neighbours, "9" and "1" are not."""
    found = int(decoded(gaussian(middle, 2.0), 0.5, False))
    assert abs(found - middle) <= 2.0


def test_first_digits_are_ordered_around_the_most_likely_one() -> None:
    assert order_around(5) == tuple(range(10))
    nine, one = order_around(9), order_around(1)
    assert nine.index(1) > nine.index(9) and one.index(9) < one.index(1) < one.index(2)
    assert all(sorted(order_around(digit)) == list(range(10)) for digit in range(10))


def test_a_score_is_that_of_the_chosen_token() -> None:
    chooser = QuantileDigits(DIGITS, True, [0.5] * 4)
    scores = [math.log(share) for share in (0.3, 0.15, 0.4, *[0.15 / 7] * 7)]
    assert chooser.choose(DIGITS[2], scores[2], scores) == (DIGITS[2], scores[2])
    flat = [math.log(0.1)] * 10
    assert chooser.choose(END, -0.1, flat) == (END, -0.1)
    assert chooser.choose(DIGITS[0], scores[0], [scores[0], *flat[1:]])[0] != DIGITS[0]


def test_quantiles_of_samples_cover_the_interval_evenly() -> None:
    quantiles = np.array(sample_quantiles())
    expected = (np.arange(NUM_SAMPLES) + 0.5) / NUM_SAMPLES
    assert all(np.allclose(np.sort(column), expected) for column in quantiles.T)
    assert len({tuple(column) for column in quantiles.T.tolist()}) == 4


# ---- answers -------------------------------------------------------------------------------------


def sample(box: Sequence[float] | None, confidence: float = 0.5) -> Answer:
    return Answer(0.8, None if box is None else tuple(box), confidence, str(box))  # type: ignore[arg-type]


def test_the_median_of_samples_leaves_out_those_without_a_box() -> None:
    boxes = [(10.0, 10.0, 20.0, 20.0), (12.0, 11.0, 23.0, 20.0), (90.0, 12.0, 99.0, 21.0)]
    answer = median_answer([sample(None), *(sample(box) for box in boxes), sample(None)])
    assert answer.box_xyxy == (12.0, 11.0, 23.0, 20.0) and answer.text == str(boxes[1])
    assert answer.box_confidence == 0.5 and answer.visible == 0.8
    assert median_answer([sample(None), sample(None)]).box_xyxy is None


@pytest.mark.parametrize("name", ["short", "qwen", "instruct3", "r1_track"])
def test_drafts_change_no_answer_and_save_steps(name: str) -> None:
    result = check_drafts(name, 6, batch=3, decode="expectation")
    assert result.different == 0
    assert 0 < result.drafted.accepted_draft_tokens < result.drafted.draft_tokens


def test_samples_do_not_depend_on_drafts() -> None:
    result = check_drafts("short", 6, batch=3, decode="samples")
    assert result.different == 0
    assert result.drafted.draft_tokens > 0 and result.drafted.accepted_draft_tokens == 0


@pytest.fixture(scope="module")
def nano() -> Grounder:
    config = dataclasses.replace(NANO, box_threshold=0.0, second_look="off")
    grounder = Grounder.load(config, torch.device("cpu"))
    grounder.model.double()  # so that rounding errors, which depend on the batch, change no digit
    return grounder


@pytest.mark.parametrize("decode", ["expectation", "samples"])
def test_an_answer_does_not_depend_on_its_batch(
    decode: str, nano: Grounder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nano.decode == "expectation", "auto, with the contract of the shipped weights"
    monkeypatch.setattr(nano, "decode", "greedy")
    greedy = nano.locate(QUESTIONS)
    monkeypatch.setattr(nano, "decode", decode)
    together = nano.locate(QUESTIONS)
    alone = [nano.locate([question])[0] for question in QUESTIONS]
    assert [answer.box_xyxy for answer in together] == [answer.box_xyxy for answer in alone]
    assert all(one.box_xyxy != other.box_xyxy for one, other in zip(together, greedy, strict=True))
    assert [answer.visible for answer in together] == pytest.approx([answer.visible for answer in greedy])


def test_an_accepted_draft_is_the_answer_of_samples_too() -> None:
    grounder = build_small("short")
    grounder.decode = "samples"
    draft = (101.3, 82.6, 141.2, 120.4)
    asked = dataclasses.replace(QUESTIONS[0], draft_xyxy=draft, accept_draft_from=0.0)
    with boxes_only(grounder):
        accepted, other = grounder.locate([asked, QUESTIONS[1]])
        (alone,) = grounder.locate(QUESTIONS[1:2])
    assert accepted.box_xyxy == pytest.approx(draft, abs=4)
    assert (other.text, other.box_xyxy) == (alone.text, alone.box_xyxy)


# ---- settings ------------------------------------------------------------------------------------


def test_padded_numbers_are_decoded_by_their_medians() -> None:
    assert decoding_of("auto", BUILT_IN["short"]) == "expectation"
    assert decoding_of("auto", BUILT_IN["qwen"]) == "greedy"
    assert decoding_of("greedy", BUILT_IN["short"]) == "greedy"


def test_results_name_how_they_were_decoded() -> None:
    grounder = build_small("short")
    assert "decode" not in grounder.identity(), "results of earlier versions were decoded greedily"
    grounder.decode = "samples"
    assert grounder.identity()["decode"] == "samples"


def test_a_server_and_training_refuse_other_ways() -> None:
    check_server_decoding(NANO, "engine=endpoint")
    check_inference_keys(NANO)
    config = GrounderConfig(NANO.checkpoint, decode="samples")
    with pytest.raises(UserError, match=r"model\.decode=samples: engine=endpoint generates .* greedily"):
        check_server_decoding(config, "engine=endpoint")
    with pytest.raises(UserError, match=r"model\.decode=samples: has an effect in inference only"):
        check_inference_keys(config)
