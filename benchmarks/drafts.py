"""Decoding steps with and without drafts: `python -m benchmarks drafts [--videos 6] [--check 500]`

Rendered videos are tracked with the small models, and the questions of the trackers are recorded. Each one is
asked again, alone, without and with a draft: of the referral tracker's verifying questions the box of the
propagated mask, of its confirming questions the box of the first answer, and of the per-frame tracker the
last box. The answers must be the same.

`--check N` asks N random questions in the words of each built-in contract (`benchmarks.drafts_check`) and
counts answers that differ with drafts. `--contracts qwen,r1_track` checks these contracts only, and
`--videos 0` makes no other measurement.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.drafts_check import check_drafts
from benchmarks.machine import machine
from configs.terminal import echo
from data_prep.contract.contract import BUILT_IN, Contract
from data_prep.world.film import make_film
from data_prep.world.presets import PRESETS
from infer.engine.engine import Engine
from infer.trackers.per_frame import PerFrameConfig
from infer.trackers.referral import ReferralConfig
from infer.trackers.registry import build_tracker, with_calibration
from models.calibration import find_calibration
from models.config import NANO
from models.grounder.grounder import Grounder
from models.interfaces import Answer, GroundingStatistics, Identity, Question
from models.mask_head.config import MASK_HEADS
from models.mask_head.sam2 import MaskHead

PRESET = "val"
CPU = torch.device("cpu")


@dataclasses.dataclass
class Recorder:
    """A grounder that keeps the questions of each call; implements `models.interfaces.Grounding`."""

    grounder: Grounder
    calls: list[list[Question]] = dataclasses.field(default_factory=list)

    @property
    def statistics(self) -> GroundingStatistics:
        """Those of the grounder."""
        return self.grounder.statistics

    @property
    def contract(self) -> Contract:
        """That of the grounder."""
        return self.grounder.contract

    def check_expression(self, expression: str) -> None:
        """As the grounder."""
        self.grounder.check_expression(expression)

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        """The grounder's answers."""
        self.calls.append(list(questions))
        return self.grounder.locate(questions)

    def identity(self) -> Identity:
        """That of the grounder."""
        return self.grounder.identity()


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks drafts", description=__doc__)
    parser.add_argument("--videos", type=int, default=6, help="rendered videos to track")
    parser.add_argument("--frames", type=int, default=60, help="of each video")
    parser.add_argument("--check", type=int, default=0, help="questions of each contract; 0: none")
    parser.add_argument("--contracts", default=",".join(BUILT_IN), help="contracts of --check")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    different = _check(options.check, options.contracts.split(",")) if options.check else {}
    kinds = _recorded(options.videos, options.frames)
    grounder = Grounder.load(NANO, CPU)
    report: dict[str, Any] = {"benchmark": "drafts", "videos": options.videos, "frames": options.frames}
    figures = {kind: _figures(grounder, questions) for kind, questions in kinds.items() if questions}
    _print(figures)
    verify = figures.get("verify", {})
    report |= {
        "kinds": figures,
        "check": different,
        "ours": verify.get("steps_with"),
        "theirs": verify.get("steps_without"),
        "ratio": verify["steps_without"] / max(verify["steps_with"], 1e-9) if verify else None,
        "unit": "decoding steps of a verifying question",
        "machine": machine(),
    }
    echo(json.dumps(report))
    return int(any(different.values()) or any(each["different"] for each in figures.values()))


def _check(count: int, names: Sequence[str]) -> dict[str, int]:
    """The number of answers of each contract that differ with drafts."""
    different = {}
    echo(f"{'contract':<18}{'questions':>10}{'different':>10}{'drafts':>8}{'accepted tokens':>17}")
    for name in names:
        found = check_drafts(name, count)
        different[name] = found.different
        accepted = found.drafted.accepted_draft_tokens / max(1, found.drafted.draft_tokens)
        echo(f"{name:<18}{count:>10}{found.different:>10}{found.drafted.drafts:>8}{accepted:>16.0%}")
    return different


def _recorded(videos: int, frames: int) -> dict[str, list[Question]]:
    """The questions of trackers on rendered videos, with drafts, by kind."""
    referral, per_frame = (
        [question for call in tracked_calls(config, videos, frames) for question in call]
        for config in (ReferralConfig(), PerFrameConfig())
    )
    drafted = [question for question in referral if question.draft_xyxy is not None]
    confirm = [question for question in drafted if question.draft_xyxy == question.visual_prompt_xyxy]
    return {
        "verify": [question for question in drafted if question.draft_xyxy != question.visual_prompt_xyxy],
        "confirm": confirm,
        "per frame": [
            dataclasses.replace(question, draft_xyxy=question.visual_prompt_xyxy)
            for question in per_frame
            if question.visual_prompt_xyxy is not None
        ],
    }


def tracked_calls(
    config: ReferralConfig | PerFrameConfig, videos: int, frames: int, expressions: int = 1
) -> list[list[Question]]:
    """The questions of a tracker on rendered videos, as they are asked together."""
    recorder = Recorder(Grounder.load(NANO, CPU))
    engine = Engine(recorder, MaskHead.load(MASK_HEADS["nano"].checkpoint, CPU))
    calibrated = with_calibration(config, find_calibration(NANO))
    tracker = build_tracker(calibrated, recorder.contract)
    for index in range(videos):
        film = make_film(PRESETS[PRESET], index, expressions=expressions, frames=frames)
        images: Iterator[np.ndarray] = (image for image, _ in film.shots())
        for _ in engine.run(images, [partial(tracker, each.text) for each in film.expressions]):
            pass
    return recorder.calls


def _figures(grounder: Grounder, questions: Sequence[Question]) -> dict[str, float]:
    """Work and time of questions that are asked alone, without and with their drafts."""
    plain = [dataclasses.replace(question, draft_xyxy=None) for question in questions]
    answers, work = [], []
    grounder.locate(plain[:1])  # the first call allocates
    for asked in (plain, questions):
        grounder.statistics.reset()
        answers.append([grounder.locate([question])[0] for question in asked])
        work.append(dataclasses.replace(grounder.statistics))
    without, drafted = work
    count = len(questions)
    different = sum(
        (one.text, one.box_xyxy) != (other.text, other.box_xyxy) for one, other in zip(*answers, strict=True)
    )
    return {
        "questions": count,
        "different": different,
        "steps_without": without.decoding_steps / count,
        "steps_with": drafted.decoding_steps / count,
        "drafts_accepted": drafted.accepted_drafts / max(1, drafted.drafts),
        "tokens_accepted": drafted.accepted_draft_tokens / max(1, drafted.draft_tokens),
        "seconds_without": sum(without.seconds.values()) / count,
        "seconds_with": sum(drafted.seconds.values()) / count,
    }


def _print(figures: dict[str, dict[str, float]]) -> None:
    names = list(next(iter(figures.values()), {}))
    echo(f"{'':<12}" + "".join(f"{name:>17}" for name in names))
    for kind, values in figures.items():
        echo(f"{kind:<12}" + "".join(f"{value:>17.4g}" for value in values.values()))
