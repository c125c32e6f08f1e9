"""The formulas of the MATLAB toolkits, transcribed frame by frame in plain Python, to compare with.

`calc_seq_err_robust.m`, `calc_rect_int.m`, `eval_tracker.m` and `plot_draw_save.m` of
https://github.com/HengLan/LaSOT_Evaluation_Toolkit. Nothing of the package is used here.
"""

import math
from dataclasses import dataclass

EPS = 2.0**-52
OVERLAPS = [0.05 * step for step in range(21)]
PIXELS = [float(step) for step in range(51)]
SHARES = [step / 100 for step in range(51)]
Box = list[float]


@dataclass
class Figures:
    """Shares of frames by curve and sequence, and the figures of a plot's legend, None without sequences."""

    rates: dict[str, list[list[float]]]
    success: float | None
    precision: float | None
    norm_precision: float | None


def lesser(a: float, b: float) -> float:
    """MATLAB's `min`: of a NaN and a number the number."""
    return b if math.isnan(a) else a if math.isnan(b) else min(a, b)


def greater(a: float, b: float) -> float:
    """MATLAB's `max`."""
    return b if math.isnan(a) else a if math.isnan(b) else max(a, b)


def divided(a: float, b: float) -> float:
    """Division as IEEE 754 has it."""
    if b != 0:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def overlap_of(a: Box, b: Box) -> float:
    right_a, bottom_a = a[0] + a[2] - 1, a[1] + a[3] - 1
    right_b, bottom_b = b[0] + b[2] - 1, b[1] + b[3] - 1
    across = greater(0.0, lesser(right_a, right_b) - greater(a[0], b[0]) + 1)
    down = greater(0.0, lesser(bottom_a, bottom_b) - greater(a[1], b[1]) + 1)
    shared = across * down
    return divided(shared, a[2] * a[3] + b[2] * b[3] - shared)


def error_of(a: Box, b: Box, normalised: bool) -> float:
    total = 0.0
    for side in (0, 1):
        centre, true = a[side] + (a[side + 2] - 1) / 2, b[side] + (b[side + 2] - 1) / 2
        if normalised:
            centre, true = divided(centre, b[side + 2]), divided(true, b[side + 2])
        total += (centre - true) ** 2 if math.isfinite(centre - true) else abs(centre - true)
    return math.sqrt(total) if not math.isnan(total) else math.nan


def sequence_values(
    results: list[Box], truth: list[Box], flags: list[int], absent_flag: int | None, otb: bool
) -> tuple[list[float], list[float], list[float]]:
    """Overlap, error and normalised error of every frame that is not dropped."""
    results = [list(box) for box in results[: len(truth)]]
    for i in range(1, len(truth)):
        r = results[i]
        has_nan = all(map(math.isnan, r)) if otb else any(map(math.isnan, r))
        if (has_nan or r[2] <= 0 or r[3] <= 0) and not any(map(math.isnan, truth[i])):
            results[i] = list(results[i - 1])
    results[0] = list(truth[0])
    overlaps, errors, normalised = [], [], []
    for r, t, flag in zip(results, truth, flags, strict=True):
        if absent_flag is not None and flag == absent_flag:
            continue
        if all(side > 0 for side in t):
            overlaps.append(overlap_of(r, t))
            errors.append(error_of(r, t, False))
            normalised.append(error_of(r, t, True))
        else:
            overlaps.append(-1.0)
            errors.append(-1.0)
            normalised.append(-1.0)
    return overlaps, errors, normalised


def figures(
    truth: list[list[Box]],
    flags: list[list[int]],
    results: list[list[Box]],
    absent_flag: int | None = 0,
    otb: bool = False,
) -> Figures:
    """One tracker's figures; `absent_flag` None and `otb` for OTB's toolkit."""
    rates: dict[str, list[list[float]]] = {"success": [], "precision": [], "norm_precision": []}
    for result, true, flag in zip(results, truth, flags, strict=True):
        overlaps, errors, normalised = sequence_values(result, true, flag, absent_flag, otb)
        length = len(true) + EPS
        rates["success"].append([sum(v > t for v in overlaps) / length for t in OVERLAPS])
        rates["precision"].append([sum(v <= t for v in errors) / length for t in PIXELS])
        rates["norm_precision"].append([sum(v <= t for v in normalised) / length for t in SHARES])
    means = {key: mean_curve(curves) for key, curves in rates.items()}
    success, precision, norm = means["success"], means["precision"], means["norm_precision"]
    return Figures(
        rates,
        None if success is None else sum(success) / len(success),
        None if precision is None else precision[20],
        None if norm is None else norm[20],
    )


def mean_curve(curves: list[list[float]]) -> list[float] | None:
    kept = [curve for curve in curves if sum(curve) > EPS]
    return [sum(values) / len(kept) for values in zip(*kept, strict=True)] if kept else None
