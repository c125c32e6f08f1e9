"""Protocol `pytracking`: one-pass evaluation as the script of VPTracker computes it, a port of pytracking's.

It follows `evaluation/extract_results.py` and `eval.py` of https://github.com/jcwang0602/VPTracker, which are
derived from `pytracking/analysis/extract_results.py` of https://github.com/visionml/pytracking. The port
differs from pytracking in two points: a true box is valid if w and h are above 0 (pytracking also requires x
and y above 0), and negative numbers of a result become 0 (pytracking rejects them). Neither accepts NaN. The
script stores rates in float32; the digits that it prints are the same.
"""

from dataclasses import replace

import numpy as np

from evaluation.boxes.ope import OpeRules, has_area, has_no_area
from evaluation.boxes.protocol import OPE_METRICS as METRICS
from evaluation.boxes.protocol import ope_protocol
from evaluation.protocols.registry import register_protocol
from evaluation.scores import Metric

# The values of `torch.arange(0.0, 1.05, 0.05, dtype=torch.float64)`: torch computes them in vectors of four
# numbers, each of which begins with a multiple of the step, and adds multiples of the step to the first.
OVERLAPS = ((np.arange(0, 24, 4) * 0.05)[:, None] + np.arange(4) * 0.05).ravel()[:21]
RULES = OpeRules(
    is_invalid=has_no_area,
    is_countable=has_area,
    overlaps=OVERLAPS,
    error_without_truth=float("inf"),
    skips_zero_curves=False,
    clamps_negatives=True,
)
FORMULA = (
    "Coordinates are inclusive (right = x + w - 1). Negative numbers of a result become 0, and a result with "
    "w or h of 0 repeats the previous one. Then the first result is replaced by the ground truth. No frame "
    "is left out: where the true w or h is 0 or less, the overlap is -1, the centre error infinite, and the "
    "normalised error -1, which counts as precise. Success: the share of frames with overlap > t for "
    "t = 0, 0.05, …, 1, reported as its mean (AUC) and at 0.5 and 0.75 (OP). Precision: the share with a "
    "centre error <= t pixels, reported at 20. Normalised precision: the centres are divided by the true w "
    "and h, reported at 0.2. All are means over all sequences."
)
SOURCE = "evaluation/extract_results.py of https://github.com/jcwang0602/VPTracker"
EXTRA = (Metric("op50", "OP50"), Metric("op75", "OP75"))
PROTOCOL = register_protocol(
    replace(
        ope_protocol("pytracking", RULES, FORMULA, SOURCE, (METRICS[0], *EXTRA, *METRICS[1:])),
        accepts_nan=False,
    )
)
