"""`pytracking` counts as a plain loop on torch tensors does, written after VPTracker's script."""

import numpy as np
import pytest
import torch
from box_miniature import benchmarks, results_of, truth_of
from hypothesis import example, given, settings

from evaluation.boxes.ope import NORM_PRECISION, PRECISION, SUCCESS
from evaluation.protocols.pytracking import OVERLAPS, PROTOCOL

BORDER = [0.0, 5.0, 9.0, 9.0]


def plain_rates(results: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
    """The rates of one sequence; both are (F, 4)."""
    boxes = torch.clamp(results[: len(truth)].clone(), min=0.0)
    for frame in range(1, len(boxes)):
        if (boxes[frame, 2:] == 0).any():
            boxes[frame] = boxes[frame - 1]
    boxes[0] = truth[0]
    valid = (truth[:, 2] > 0) & (truth[:, 3] > 0)
    near = torch.maximum(boxes[:, :2], truth[:, :2])
    far = torch.minimum(boxes[:, :2] + boxes[:, 2:] - 1.0, truth[:, :2] + truth[:, 2:] - 1.0)
    shared = (far - near + 1.0).clamp(0).prod(dim=1)
    overlap = shared / (boxes[:, 2:].prod(dim=1) + truth[:, 2:].prod(dim=1) - shared)
    centre, true = (each[:, :2] + 0.5 * (each[:, 2:] - 1.0) for each in (boxes, truth))
    error = ((centre - true) ** 2).sum(1).sqrt()
    normalised = ((centre / truth[:, 2:] - true / truth[:, 2:]) ** 2).sum(1).sqrt()
    overlap[~valid], error[~valid], normalised[~valid] = -1.0, float("inf"), -1.0
    over = torch.arange(0.0, 1.05, 0.05, dtype=torch.float64)
    pixels = torch.arange(0, 51, dtype=torch.float64)
    length = len(truth)
    return {
        SUCCESS: (overlap[:, None] > over).sum(0).double() / length,
        PRECISION: (error[:, None] <= pixels).sum(0).double() / length,
        NORM_PRECISION: (normalised[:, None] <= pixels / 100).sum(0).double() / length,
    }


@settings(max_examples=100, deadline=None)
@example(([[BORDER, [0, 0, 0, 0]]], [[1, 1]], [[BORDER, [3, 3, 3, 3]]]))
@example(([[[5, 5, 9, 9]] * 3], [[1] * 3], [[[5, 5, 9, 9], [-4, 5, 9, 9], [5, 5, -2, 9]]]))
@given(benchmarks())
def test_it_equals_a_plain_loop(benchmark):
    truth, _, results = (
        [[[side if np.isfinite(side) else 3.0 for side in box] for box in each] for each in part]
        if part is not benchmark[1]
        else part
        for part in benchmark
    )
    scores = PROTOCOL.scorer(truth_of(truth))(results_of(results, truth))
    plain = [
        plain_rates(torch.tensor(result, dtype=torch.float64), torch.tensor(true, dtype=torch.float64))
        for result, true in zip(results, truth, strict=True)
    ]
    means = {key: torch.stack([each[key] for each in plain]).mean(0) for key in plain[0]}
    for key in means:
        assert scores.curves[key] == pytest.approx(
            100 * np.stack([each[key].numpy() for each in plain]), abs=1e-12
        )
    assert scores.overall == pytest.approx(
        {
            "success": 100 * means[SUCCESS].mean().item(),
            "op50": 100 * means[SUCCESS][10].item(),
            "op75": 100 * means[SUCCESS][15].item(),
            "precision": 100 * means[PRECISION][20].item(),
            "norm_precision": 100 * means[NORM_PRECISION][20].item(),
        },
        abs=1e-10,
    )


def test_its_thresholds_are_torchs():
    assert OVERLAPS.tolist() == torch.arange(0.0, 1.0 + 0.05, 0.05, dtype=torch.float64).tolist()


def test_absent_frames_are_imprecise_but_precise_where_normalised():
    truth = [[[5.0, 5.0, 9.0, 9.0], [0.0, 0.0, 0.0, 0.0]]]
    scores = PROTOCOL.scorer(truth_of(truth))(results_of(truth, truth))
    assert scores.overall["precision"] == 50
    assert scores.overall["norm_precision"] == 100
