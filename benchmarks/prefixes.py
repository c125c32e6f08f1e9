"""What it saves to compute the common beginnings of questions once: `python -m benchmarks prefixes`

Rendered videos are tracked with the small models, four expressions at a time, and the questions are recorded.
They are answered again, in the same calls, with and without prefixes (`models.grounder.prefixes`), in turns:

- `track`: as they were asked. The wording of the small grounder has the search image last, so the expression
  and the template of a track are computed once for all of its frames;
- `frame`: in the wording of Qwen's published weights, with the same weights. The search image comes first,
  and is computed once for all questions of a call. The answers mean nothing, but cost the same.

The answers must be the same. Times are processor time, the median of several rounds.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Any

import torch

from benchmarks.drafts import tracked_calls
from benchmarks.machine import machine
from configs.terminal import echo
from infer.trackers.referral import ReferralConfig
from models.config import NANO
from models.grounder.grounder import Grounder
from models.grounder.prefill import Prefiller
from models.interfaces import Answer, Question

CPU = torch.device("cpu")
SIDES = ("without", "with")
PARTS = ("preprocess", "vision", "prefill", "generate")
TOLERANCE = 1e-4  # of probabilities, which differ by rounding

Calls = Sequence[Sequence[Question]]


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks prefixes", description=__doc__)
    parser.add_argument("--videos", type=int, default=4, help="rendered videos to track")
    parser.add_argument("--frames", type=int, default=24, help="of each video")
    parser.add_argument("--expressions", type=int, default=4, help="of each video")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    calls = tracked_calls(ReferralConfig(), options.videos, options.frames, options.expressions)
    grounder = Grounder.load(NANO, CPU)
    qwen: dict[str, Any] = {"wording": "qwen", "shows_template": False, "draws_prompt": False}
    image_first = dataclasses.replace(grounder.contract, **qwen)
    kinds = {
        "track": compare(grounder, calls, options.rounds),
        "frame": compare(
            Grounder(grounder.model, grounder.encoder.processor, image_first), calls, options.rounds
        ),
    }
    columns = f"{'questions':>10}{'different':>10}{'tokens':>8}{'images':>8}"
    echo(f"{'':<16}{columns}" + "".join(f"{part:>12}" for part in PARTS))
    for kind, figures in kinds.items():
        for side in SIDES:
            each = figures[side]
            numbers = "".join(f"{each['milliseconds'][part]:>12.2f}" for part in PARTS)
            echo(
                f"{kind + ' ' + side:<16}{figures['questions']:>10}{figures['different']:>10}"
                f"{each['prompt_tokens']:>8.1f}{each['vision_encodings']:>8.2f}{numbers}"
            )
    frame = {side: sum(kinds["frame"][side]["milliseconds"].values()) for side in SIDES}
    report = {
        "benchmark": "prefixes",
        "kinds": kinds,
        "ours": frame["with"],
        "theirs": frame["without"],
        "ratio": frame["without"] / frame["with"],
        "unit": "milliseconds of a question whose search image comes first",
        "machine": machine(),
    }
    echo(json.dumps(report))
    return int(any(each["different"] for each in kinds.values()))


def compare(grounder: Grounder, calls: Calls, rounds: int) -> dict[str, Any]:
    """The work and time of a question without and with prefixes, and the number of different answers."""
    questions = sum(map(len, calls))
    answers: dict[str, list[Answer]] = {}
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    work: dict[str, dict[str, float]] = {}
    for number in range(rounds + 1):
        for side in SIDES if number % 2 else SIDES[::-1]:
            # The tracks begin anew.
            grounder._prefiller = Prefiller(grounder.model, grounder.statistics, side == "with")
            grounder.statistics.reset()
            seconds = dict.fromkeys(PARTS, 0.0)
            grounder.statistics.around = partial(_timed, seconds)
            answers[side] = [answer for call in calls for answer in grounder.locate(call)]
            runs[side] += [seconds] if number else []  # the first round allocates
            work[side] = {
                "prompt_tokens": grounder.statistics.prompt_tokens / questions,
                "vision_encodings": grounder.statistics.vision_encodings / questions,
            }
    different = sum(not _same(*pair) for pair in zip(*answers.values(), strict=True))
    return {"questions": questions, "different": different} | {
        side: {
            **work[side],
            "milliseconds": {
                part: 1000 * median(each[part] for each in runs[side]) / questions for part in PARTS
            },
        }
        for side in SIDES
    }


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Add the processor time that passes in the context to a part."""
    start = time.process_time()
    yield
    seconds[part] += time.process_time() - start


def _same(one: Answer, other: Answer) -> bool:
    pairs = ((one.visible, other.visible), (one.box_confidence, other.box_confidence))
    is_close = all(abs(left - right) <= TOLERANCE for left, right in pairs)
    return is_close and (one.text, one.box_xyxy) == (other.text, other.box_xyxy)
