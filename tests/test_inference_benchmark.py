"""`python -m benchmarks inference`: both sides give the same answers, and times are assigned to parts."""

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import inference
from benchmarks.inference_floor import counted_flops
from benchmarks.inference_forced import STEPS, ForcedTokens, Script
from benchmarks.inference_parts import PARTS, PartClock
from benchmarks.inference_published import AnswerGrammar
from data_prep.contract.contract import BUILT_IN
from data_prep.contract.formats import ANSWER_FORMATS
from data_prep.geometry import box_of_mask
from data_prep.votsr.workspace import read_workspace
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from models.grounder.nano import build_tokenizer

ARGUMENTS = "--sequences 1 --frames 2 --expressions 2 --floor-frames 0"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The last line of a tiny run."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert inference.main(ARGUMENTS.split()) == 0
    found: dict[str, Any] = json.loads(output.getvalue().splitlines()[-1])
    return found


def test_a_run_measures_all_sides(report: dict[str, Any]) -> None:
    assert report["benchmark"] == "inference"
    assert report["track_frames"] == 4
    assert report["ratio"] == pytest.approx(report["ours"] / report["theirs"], rel=0.02)
    assert report["engine_ratio"] > 0
    assert report["scores"].keys() == report["milliseconds"].keys()
    for row in report["milliseconds"].values():
        assert tuple(row) == (*PARTS, "beside")
        assert all(row[part] > 0 for part in ("preprocess", "vision", "prefill", "decode", "mask head"))
    assert report["milliseconds"]["published"]["read"] > 0
    assert report["milliseconds"]["engine"]["beside"] > 0, "frames are read in a thread"


def test_the_engine_gives_the_answers_of_free_generation(report: dict[str, Any]) -> None:
    assert report["equal_answers"] == report["answers"] == 4
    # Equal answers make equal boxes, and both sides segment them with the same weights.
    assert report["scores"]["engine"] == pytest.approx(report["scores"]["published"], abs=0.005)


def test_a_clock_counts_the_innermost_part() -> None:
    times = iter(range(100))
    clock = PartClock(lambda: next(times))
    with clock.part("preprocess"):  # 0 to 1: other
        with clock.part("vision"):  # 1 to 2: preprocess
            pass  # 2 to 3: vision
        clock.become("decode")  # 3 to 4: preprocess
    # 4 to 5: decode
    clock.stop()  # 5 to 6: other
    counted = {part: seconds for part, seconds in clock.seconds.items() if seconds}
    assert counted == {"preprocess": 2, "vision": 1, "decode": 1, "other": 2}


@pytest.mark.parametrize("is_visible", [True, False])
def test_a_grammar_allows_the_answers_of_the_format(is_visible: bool) -> None:
    """Every token of a rendered answer is allowed where it stands, and then the end of the turn alone."""
    answer_format, tokenizer = ANSWER_FORMATS["json"], build_tokenizer()
    grammar = AnswerGrammar(answer_format, tokenizer)
    texts = [answer_format.start, answer_format.render("12, 34, 56, 78" if is_visible else None)]
    tokens = [token for text in texts for token in tokenizer(text, add_special_tokens=False).input_ids]
    for index, token in enumerate(tokens):
        allowed = grammar.allowed(tokens[:index])
        assert allowed is None or token in allowed, tokenizer.decode(tokens[: index + 1])
    assert grammar.allowed(tokens) == [tokenizer.eos_token_id]


def test_a_grammar_restricts_scores_and_ends_a_box_that_does_not_close() -> None:
    grammar = AnswerGrammar(ANSWER_FORMATS["json"], build_tokenizer())
    grammar.begin(2)
    scores: Any = torch.arange(float(len(grammar.tokenizer)))[None]
    prompt: Any = torch.tensor([[5, 6]])
    assert grammar(prompt, scores).argmax() == grammar.start[0]
    written = [*grammar.start, grammar.decisions[0], *grammar.box_start]
    free: Any = torch.tensor([[5, 6, *written]])
    assert torch.equal(grammar(free, scores), scores)
    digit = grammar.ids_of("1")
    assert grammar.allowed([*written, *digit * 32]) == [grammar.end]


def test_answers_are_equal_only_if_all_their_tokens_are() -> None:
    tokenizer = build_tokenizer()
    published: Any = SimpleNamespace(loop=SimpleNamespace(processor=SimpleNamespace(tokenizer=tokenizer)))
    text = '{"visible": true, "bbox_2d": [012,034,056,078]}'
    other = text.replace("078", "079")
    published.tokens = {("a", "x"): [tuple(tokenizer(text, add_special_tokens=False).input_ids)] * 2}
    engine: Any = SimpleNamespace(texts=lambda: {("a", "x"): [text, other]})
    assert inference.equal_answers(published, engine) == (1, 2)


CONTRACT = BUILT_IN["short"]


def forced_tokens() -> tuple[ForcedTokens, Any]:
    tokenizer = build_tokenizer()
    return ForcedTokens(tokenizer, CONTRACT.format, len(tokenizer)), tokenizer


def chosen(forced: ForcedTokens, rows: list[list[int]]) -> list[list[int]]:
    """The most probable token behind each token of rows, which are padded on the right."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    output = SimpleNamespace(logits=torch.zeros(*ids.shape, len(forced.successor)))
    forced(None, (), {"input_ids": ids, "attention_mask": mask}, output)
    best: list[list[int]] = output.logits.argmax(-1).tolist()
    return [tokens[: len(row)] for tokens, row in zip(best, rows, strict=True)]


def test_forced_answers_without_a_draft_have_the_length_of_a_box() -> None:
    forced, tokenizer = forced_tokens()
    token = tokenizer(CONTRACT.format.forced_prefix, add_special_tokens=False).input_ids[-1]
    written = []
    while "]" not in tokenizer.decode([token]):
        [[token]] = chosen(forced, [[token]])
        written.append(token)
    assert len(written) == STEPS + 1
    assert len(set(written)) == len(written)


def test_forced_answers_accept_most_of_a_draft_and_close_the_box_behind_it() -> None:
    forced, tokenizer = forced_tokens()
    rng = np.random.default_rng(0)
    drafts = [
        tokenizer(",".join(f"{number:03d}" for number in rng.integers(0, 336, 4))).input_ids
        for _ in range(100)
    ]
    agreed = total = 0
    for draft, tokens in zip(drafts, chosen(forced, drafts), strict=True):
        agreed += sum(token == other for token, other in zip(tokens[:-1], draft[1:], strict=True))
        total += len(draft) - 1
        assert "]" in tokenizer.decode(tokens[-1:])
    assert 0.7 < agreed / total < 1


def test_a_script_gives_the_truth_of_a_frame_by_its_pixels(tmp_path: Path) -> None:
    render_workspace(tmp_path, PRESETS["demo"], sequences=1, expressions=1, frames=2)
    [video] = read_workspace(tmp_path).sequences
    script = Script([video])
    first, second = (script.of(image.copy()) for image in video.frames)
    assert first.mask is not None and second.mask is not None
    assert first.box_xyxy == box_of_mask(first.mask)
    assert first.box_xyxy != second.box_xyxy
    image = next(iter(video.frames))
    grammar = AnswerGrammar(CONTRACT.format, build_tokenizer())
    grammar.begin(0, script.answer(image, CONTRACT))
    written: list[int] = []
    while (allowed := grammar.allowed(written)) != [grammar.end]:
        assert allowed is not None and len(allowed) == 1
        written += allowed
    text = grammar.tokenizer.decode(written)
    assert text.startswith('{"visible": true, "bbox_2d": [') and text.endswith("]}")


def test_flops_of_a_matrix_product_and_of_attention_are_counted() -> None:
    layer, states = torch.nn.Linear(4, 5), torch.randn(1, 2, 7, 4)

    def work() -> None:
        with torch.inference_mode():
            layer(states[0, 0])
            torch.nn.functional.scaled_dot_product_attention(states, states, states)

    # Two FLOPs for each product: of 7 rows with the layer, and twice of 7 x 7 pairs of width 4 in two heads.
    assert counted_flops(work) == 2 * 7 * 4 * 5 + 2 * 2 * (2 * 7 * 7 * 4)
