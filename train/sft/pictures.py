"""What an evaluation shows: loss and figures over the steps, and the answer that was most wrong."""

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from data_prep.files import whole_file
from data_prep.geometry import Box
from data_prep.resizing import resize
from data_prep.sampling.pictures import size_of
from evaluation.report.styles import line_style, plot_settings
from train.sft.judge import Judged

TRUE, SAID = "#00c060", "#ff9000"
LETTERS = 80  # of a line
SMOOTH = 20  # rows of the loss whose mean is drawn


def write_plot(metrics: Path, path: Path) -> None:
    """A PNG of the loss, and of IoU and right decisions of each set that was judged, from `metrics.jsonl`."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    with plot_settings():
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        loss, overlap, visible = figure.subplots(1, 3)
        _loss(loss, [row for row in rows if "loss" in row])
        judged = [row for row in rows if "judged" in row]
        _judged(overlap, judged, "iou", "mean IoU")
        _judged(visible, judged, "visible_accuracy", "visible or not: right")
        with whole_file(path) as temporary:
            figure.savefig(temporary, dpi=120)


def _loss(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    by_step = {row["step"]: row["loss"] for row in rows}  # a run that went on may tell a step twice
    steps, losses = np.array(list(by_step)), np.array(list(by_step.values()))
    axes.set(title="Loss of an answer token", xlabel="step")
    if not len(steps):
        return
    width = min(SMOOTH, -(-len(losses) // 10))
    ends = np.cumsum(np.concatenate([[0.0], losses]))
    axes.plot(steps, losses, color="#bbbbbb", linewidth=0.8, marker=".", markersize=3)  # one row is seen too
    axes.plot(steps[width - 1 :], (ends[width:] - ends[:-width]) / width, **line_style(0))


def _judged(axes: Axes, rows: Sequence[dict[str, Any]], name: str, title: str) -> None:
    axes.set(title=title, xlabel="step", ylim=(0, 1.03))  # a line at 1 is seen whole
    for number, judged in enumerate(dict.fromkeys(row["judged"] for row in rows)):
        by_step = {row["step"]: row[name] for row in rows if row["judged"] == judged}
        axes.plot(
            list(by_step),
            list(by_step.values()),
            marker="o",
            markersize=3,
            label=judged,
            **line_style(number),
        )
    if rows:
        axes.legend(fontsize=7, loc="lower right")


def worst_of(judged: Sequence[Judged]) -> Judged:
    """The answer that was most wrong: the least overlap, or an absent target that was surely seen."""
    return min(judged, key=lambda each: (_rightness(each), -each.answer.box_confidence))


def _rightness(each: Judged) -> float:
    return 1 - each.answer.visible if each.overlap is None else each.overlap


def write_worst(path: Path, judged: Judged) -> None:
    """A PNG of an answer: template and search picture, with the true box and the box that was said."""
    question, answer = judged.asked.question, judged.answer
    tall = size_of(question.image)[1]
    shown = question.image
    left = 0
    if question.template is not None:
        width, height = size_of(question.template)
        crop = resize(question.template, (max(1, width * tall // (2 * height)), tall // 2))
        room = np.full((tall, size_of(crop)[0] + 8, 3), 255, np.uint8)
        room[: crop.shape[0], : crop.shape[1]] = crop
        shown, left = np.hstack([room, question.image]), room.shape[1]
    figure = Figure(figsize=(9, 9 * shown.shape[0] / shown.shape[1] + 0.9), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shown)
    axes.axis("off")
    _outline(axes, judged.asked.box_resized, left, TRUE)
    _outline(axes, answer.box_xyxy, left, SAID)
    axes.set_title(_words(judged), fontsize=9)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _outline(axes: Axes, box: Box | None, left: int, colour: str) -> None:
    if box is None:
        return
    x0, y0, x1, y1 = box
    axes.add_patch(Rectangle((x0 + left, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=2))


def _words(judged: Judged) -> str:
    answer = judged.answer
    truth = (
        "absent" if judged.overlap is None else f"there (green); IoU with what is said {judged.overlap:.2f}"
    )
    said = f"visible {answer.visible:.2f}, box [{answer.text}] (orange)"
    words = textwrap.shorten(judged.asked.question.expression, 2 * LETTERS, placeholder=" …") or "(no words)"
    words = textwrap.fill(words, LETTERS).replace("$", r"\$")
    return f"{words}\n#{judged.asked.number} is {truth}. Said: {said}"
