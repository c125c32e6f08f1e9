"""The figures of the small grounder, for `python -m benchmarks small_models`."""

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.world.presets import PRESETS
from models.config import NANO
from models.grounder.grounder import Grounder
from models.interfaces import Answer
from train.scratch.frame_pool import PoolSpec, open_pool
from train.scratch.grounder_metrics import GrounderMetrics, metrics_of
from train.scratch.questions import QuestionMix, Sample, sample_questions

ABSENT = 0.35  # share of questions whose target is absent
# `missed` places the rectangle elsewhere; `focus` makes every question one about the object in it.
KINDS = {
    "words": QuestionMix(ABSENT, template=0.0, marked=0.0),
    "words and a template": QuestionMix(ABSENT, template=1.0, marked=0.0),
    "a rectangle around it": QuestionMix(ABSENT, template=0.0, marked=1.0, missed=0.0, focus=1.0),
    "a rectangle elsewhere": QuestionMix(ABSENT, template=0.0, marked=1.0, missed=1.0, focus=1.0),
}
ALL = "all kinds"
NAMES = [field.name for field in dataclasses.fields(GrounderMetrics)]


Side = tuple[str, str]  # a checkpoint, and how boxes are decoded


def grounder_figures(
    sides: Sequence[Side], presets: Sequence[str], count: int, device: torch.device, dtype: str
) -> tuple[list[dict[str, Any]], list[Answer]]:
    """Print and return figures, and the answers of the first side.

    There is a row for each preset, side and kind of question, with `count` questions, and one for all kinds
    of a side with the processor time of a question. Without sides there are none.
    """
    if not sides:
        return [], []
    grounders = {
        (checkpoint, decode): Grounder.load(
            # A threshold of 0: a box is always decoded.
            dataclasses.replace(NANO, checkpoint=checkpoint, box_threshold=0.0, dtype=dtype, decode=decode),
            device,
        )
        for checkpoint, decode in sides
    }
    rows: list[dict[str, Any]] = []
    answers: list[Answer] = []
    for preset in presets:
        samples = _samples(grounders[sides[0]], preset, count)
        answered = _answered(grounders, samples)
        for side in sides:
            rows += _rows(preset, side, samples, answered[side])
        answers += [answer for each, _ in answered[sides[0]].values() for answer in each]
    return rows, answers


def _samples(grounder: Grounder, preset: str, count: int) -> dict[str, list[Sample]]:
    """Questions about the first `count` scenes of a preset, by their kind."""
    size = grounder.encoder.resized_size(PRESETS[preset].size)
    with tempfile.TemporaryDirectory() as folder:
        pool = open_pool(Path(folder), PoolSpec(preset, grounder.contract, size), 0, count, workers=0)
        frames = [pool[index] for index in range(count)]
    # The same scenes and the same random numbers for each kind of question.
    return {name: sample_questions(np.random.default_rng(0), frames, 1, mix) for name, mix in KINDS.items()}


def _answered(
    grounders: dict[Side, Grounder], samples: dict[str, list[Sample]]
) -> dict[Side, dict[str, tuple[list[Answer], float]]]:
    """The answers of each side by the kind of question, and their seconds of processor time.

    All sides answer a part of the questions before the next part, so that they share what else the machine
    does.
    """
    found: dict[Side, dict[str, tuple[list[Answer], float]]] = {side: {} for side in grounders}
    for kind, asked in samples.items():
        for start in range(0, len(asked), NANO.batch):
            questions = [sample.question for sample in asked[start : start + NANO.batch]]
            for side, grounder in grounders.items():
                begun = time.process_time()
                answers, seconds = found[side].get(kind, ([], 0.0))
                answers += grounder.locate(questions)
                found[side][kind] = answers, seconds + time.process_time() - begun
    return found


def _rows(
    preset: str,
    side: Side,
    samples: dict[str, list[Sample]],
    answered: dict[str, tuple[list[Answer], float]],
) -> list[dict[str, Any]]:
    """Print and return the figures of one side on one preset."""
    checkpoint, decode = side
    rows: list[dict[str, Any]] = []
    everything: tuple[list[Sample], list[Answer]] = ([], [])
    print(f"{preset}, {Path(checkpoint).name}, decode={decode}")
    print(f"{'':<24}" + "".join(f"{name:>18}" for name in NAMES))
    for kind, asked in samples.items():
        answers, _ = answered[kind]
        everything[0].extend(asked)
        everything[1].extend(answers)
        rows.append(_row(kind, metrics_of(asked, answers)))
    rows.append(_row(ALL, metrics_of(*everything)))
    seconds = sum(each for _, each in answered.values())
    rows[-1]["milliseconds"] = round(1000 * seconds / len(everything[0]), 2)
    print(f"{rows[-1]['milliseconds']} ms of processor time for a question")
    return [{"preset": preset, "checkpoint": checkpoint, "decode": decode, **row} for row in rows]


def _row(kind: str, metrics: GrounderMetrics) -> dict[str, Any]:
    print(f"{kind:<24}" + "".join(f"{getattr(metrics, name):>18.3f}" for name in NAMES))
    return {"kind": kind} | {name: round(getattr(metrics, name), 4) for name in NAMES}
