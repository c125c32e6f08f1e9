"""Plots of a run: loss and metrics over the steps, and an image of the worst answer of an evaluation."""

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from data_prep.contract.images import resize
from data_prep.files import whole_file
from data_prep.geometry import Box
from data_prep.sampling.images import size_of
from evaluation.report.plot_style import line_style, plot_settings
from train.loop.state_files import eval_set_of
from train.sft.evaluator import EvaluatedPair

TRUE_COLOUR, ANSWER_COLOUR = "#00c060", "#ff9000"
LINE_LENGTH = 80  # characters
SMOOTHING = 20  # rows over which the loss is averaged


def write_plot(metrics: Path, path: Path) -> None:
    """Write a PNG of the loss, and of IoU and visible accuracy of each set, from `metrics.jsonl`."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    # A figure without pyplot: pyplot keeps global state and may open a window.
    with plot_settings():
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        loss, overlap, visible = figure.subplots(1, 3)
        _plot_loss(loss, [row for row in rows if "loss" in row])
        evaluations = [row for row in rows if eval_set_of(row) is not None]
        _plot_metric(overlap, evaluations, "iou", "mean IoU")
        _plot_metric(visible, evaluations, "visible_accuracy", "visible or absent: accuracy")
        with whole_file(path) as temporary:
            figure.savefig(temporary, dpi=120)


def _plot_loss(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    by_step = {row["step"]: row["loss"] for row in rows}  # a resumed run may repeat a row
    steps, losses = np.array(list(by_step)), np.array(list(by_step.values()))
    axes.set(title="Loss per answer token", xlabel="step")
    if not len(steps):
        return
    # A moving average, as differences of the cumulative sum.
    # At most a tenth of the rows, so that the curve of a short run keeps its shape.
    width = min(SMOOTHING, -(-len(losses) // 10))
    ends = np.cumsum(np.concatenate([[0.0], losses]))
    axes.plot(
        steps, losses, color="#bbbbbb", linewidth=0.8, marker=".", markersize=3
    )  # markers show a single row too
    # Each mean stands at the last of its rows.
    axes.plot(steps[width - 1 :], (ends[width:] - ends[:-width]) / width, **line_style(0))


def _plot_metric(axes: Axes, rows: Sequence[dict[str, Any]], name: str, title: str) -> None:
    axes.set(title=title, xlabel="step", ylim=(0, 1.03))  # so that a line at 1 is not cut
    for number, eval_set in enumerate(dict.fromkeys(eval_set_of(row) for row in rows)):
        by_step = {row["step"]: row[name] for row in rows if eval_set_of(row) == eval_set}
        axes.plot(
            list(by_step),
            list(by_step.values()),
            marker="o",
            markersize=3,
            label=eval_set,
            **line_style(number),
        )
    if rows:
        axes.legend(fontsize=7, loc="lower right")


def write_pair(path: Path, pair: EvaluatedPair) -> None:
    """Write a PNG of an answer: template and search frame, with the true box and the answer's box."""
    question, answer = pair.sample.question, pair.answer
    search_height = size_of(question.image)[1]
    shown = question.image
    left = 0
    # The template stands on the left, half as high as the search frame, on white.
    if question.template is not None:
        width, height = size_of(question.template)
        crop = resize(question.template, (max(1, width * search_height // (2 * height)), search_height // 2))
        room = np.full((search_height, size_of(crop)[0] + 8, 3), 255, np.uint8)
        room[: crop.shape[0], : crop.shape[1]] = crop
        shown, left = np.hstack([room, question.image]), room.shape[1]
    figure = Figure(figsize=(9, 9 * shown.shape[0] / shown.shape[1] + 0.9), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shown)
    axes.axis("off")
    _draw_box(axes, pair.sample.box_resized, left, TRUE_COLOUR)
    _draw_box(axes, answer.box_xyxy, left, ANSWER_COLOUR)
    axes.set_title(_caption(pair), fontsize=9)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _draw_box(axes: Axes, box: Box | None, left: int, colour: str) -> None:
    if box is None:
        return
    x0, y0, x1, y1 = box
    axes.add_patch(Rectangle((x0 + left, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=2))


def _caption(pair: EvaluatedPair) -> str:
    answer, expression = pair.answer, pair.sample.question.expression
    truth = "absent" if pair.iou is None else f"visible (green), IoU with the answer {pair.iou:.2f}"
    said = f"visible {answer.visible:.2f}, box [{answer.text}] (orange)"
    # `$` would start a formula of matplotlib.
    text = textwrap.shorten(expression, 2 * LINE_LENGTH, placeholder=" …") or "(no expression)"
    text = textwrap.fill(text, LINE_LENGTH).replace("$", r"\$")
    return f"{text}\nPair {pair.sample.number}: {truth}. Answer: {said}"
