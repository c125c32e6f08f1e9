"""The benchmark of shared prefixes, with few questions to small models of random weights."""

import dataclasses

import pytest

from benchmarks import prefixes
from models.grounder.grounder import Grounder
from models.interfaces import Answer, Question
from tests.test_prefixes import build, picture, tracked


def test_it_counts_what_is_shared_and_answers_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    templates = [picture(seed, 40, 40) for seed in range(5, 8)]
    calls = [tracked(picture(seed), templates) for seed in range(2)]
    figures = prefixes.compare(build("instruct"), calls, rounds=1)
    assert (figures["questions"], figures["different"]) == (6, 0)
    assert figures["with"]["prompt_tokens"] < figures["without"]["prompt_tokens"]
    # Three templates and one frame a call; with prefixes the templates once.
    assert figures["without"]["vision_encodings"] == pytest.approx(8 / 6)
    assert figures["with"]["vision_encodings"] == pytest.approx(5 / 6)
    assert all(value > 0 for side in prefixes.SIDES for value in figures[side]["milliseconds"].values())

    def lying(grounder: Grounder, questions: list[Question]) -> list[Answer]:
        shares = grounder._prefiller.prefixes is not None
        return [dataclasses.replace(each, visible=0.5 * shares) for each in locate(grounder, questions)]

    locate = Grounder.locate
    monkeypatch.setattr(Grounder, "locate", lying)
    assert prefixes.compare(build("instruct"), calls[:1], rounds=1)["different"] == 3
