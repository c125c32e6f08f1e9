"""The figures of grounders in `python -m benchmarks small_models`."""

import pytest
import torch

from benchmarks import small_grounders
from benchmarks.small_grounders import ALL, KINDS, Side, grounder_figures
from models.config import NANO
from train.scratch import frame_pool

CPU = torch.device("cpu")


def test_each_side_answers_every_kind_of_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_pool, "CHUNK", 2)  # whole files of frames are rendered, here in this process
    monkeypatch.setattr(small_grounders, "open_pool", lambda *spec, workers: frame_pool.open_pool(*spec))
    sides = [Side(NANO.checkpoint, decode, "off") for decode in ("greedy", "expectation")]
    rows, answers = grounder_figures(sides, ["val"], 2, CPU, "float32")
    assert [(row["decode"], row["kind"]) for row in rows] == [
        (side.decode, kind) for side in sides for kind in (*KINDS, ALL)
    ]
    assert len(answers) == 2 * len(KINDS) and all(row["preset"] == "val" for row in rows)
    greedy, medians = (rows[index] for index in (4, 9))
    # Decoding changes boxes only; the figures of all kinds are means where no question is left out.
    assert greedy["visible_accuracy"] == medians["visible_accuracy"] and greedy["iou"] != medians["iou"]
    accuracy = sum(row["visible_accuracy"] for row in rows[:4]) / 4
    assert greedy["visible_accuracy"] == pytest.approx(accuracy, abs=1e-3)
    assert greedy["milliseconds"] > 0 and grounder_figures([], ["val"], 2, CPU, "float32") == ([], [])


def test_sides_with_a_second_look_get_whole_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those without it, and small targets are counted in pixels of the search image all the same."""
    monkeypatch.setattr(frame_pool, "CHUNK", 3)
    monkeypatch.setattr(small_grounders, "open_pool", lambda *spec, workers: frame_pool.open_pool(*spec))
    off, small = (Side(NANO.checkpoint, "expectation", mode) for mode in ("off", "small"))
    rows, _ = grounder_figures([off, small], ["small_val"], 3, CPU, "float32")
    once, twice = rows[4], rows[9]
    assert (once["kind"], once["second_look"], twice["second_look"]) == (ALL, "off", "small")
    assert twice["small_iou"] > once["small_iou"] > 0
    assert twice["milliseconds"] > once["milliseconds"]
