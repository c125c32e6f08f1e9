"""The figures of the small grounder, for `python -m benchmarks small_models`."""

import dataclasses
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from data_prep.contract.contract import Contract
from data_prep.geometry import Size
from data_prep.world.presets import PRESETS
from models.config import NANO
from models.grounder.grounder import Grounder
from models.grounder.second_look import OFF
from models.interfaces import Answer
from train.scratch.frame_pool import PoolSpec, open_pool
from train.scratch.grounder_metrics import SMALL, GrounderMetrics, metrics_of
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


class Side(NamedTuple):
    """A grounder: its checkpoint, how boxes are decoded, and which answers are of two looks."""

    checkpoint: str
    decode: str
    second_look: str


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
        side: Grounder.load(
            # A threshold of 0: a box is always decoded.
            dataclasses.replace(NANO, box_threshold=0.0, dtype=dtype, **side._asdict()),
            device,
        )
        for side in sides
    }
    resized = grounders[sides[0]].encoder.resized_size
    looks_twice = any(grounder.second_look != OFF for grounder in grounders.values())
    rows: list[dict[str, Any]] = []
    answers: list[Answer] = []
    for preset in presets:
        frame_size = PRESETS[preset].size
        size = frame_size if looks_twice else resized(frame_size)
        samples = _samples(grounders[sides[0]].contract, preset, size, count)
        # Small targets are counted in pixels of the search image.
        search = resized(frame_size)
        small = SMALL * math.sqrt(size[0] * size[1] / (search[0] * search[1]))
        answered = _answered(grounders, samples)
        for side in sides:
            rows += _rows(preset, side, samples, answered[side], small)
        answers += [answer for each, _ in answered[sides[0]].values() for answer in each]
    return rows, answers


def _samples(contract: Contract, preset: str, size: Size, count: int) -> dict[str, list[Sample]]:
    """Questions about the first `count` scenes of a preset, by their kind; frames have `size`."""
    with tempfile.TemporaryDirectory() as folder:
        pool = open_pool(Path(folder), PoolSpec(preset, contract, size), 0, count, workers=0)
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
    small: float,
) -> list[dict[str, Any]]:
    """Print and return the figures of one side on one preset."""
    rows: list[dict[str, Any]] = []
    everything: tuple[list[Sample], list[Answer]] = ([], [])
    print(f"{preset}, {Path(side.checkpoint).name}, decode={side.decode}, second_look={side.second_look}")
    print(f"{'':<24}" + "".join(f"{name:>18}" for name in NAMES))
    for kind, asked in samples.items():
        answers, _ = answered[kind]
        everything[0].extend(asked)
        everything[1].extend(answers)
        rows.append(_row(kind, metrics_of(asked, answers, small=small)))
    rows.append(_row(ALL, metrics_of(*everything, small=small)))
    seconds = sum(each for _, each in answered.values())
    rows[-1]["milliseconds"] = round(1000 * seconds / len(everything[0]), 2)
    print(f"{rows[-1]['milliseconds']} ms of processor time for a question")
    return [{"preset": preset, **side._asdict(), **row} for row in rows]


def _row(kind: str, metrics: GrounderMetrics) -> dict[str, Any]:
    print(f"{kind:<24}" + "".join(f"{getattr(metrics, name):>18.3f}" for name in NAMES))
    return {"kind": kind} | {name: round(getattr(metrics, name), 4) for name in NAMES}
