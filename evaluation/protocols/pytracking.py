"""Protocol `pytracking`: as the script of VPTracker counts, a port of pytracking's.

`evaluation/extract_results.py` and `eval.py` of https://github.com/jcwang0602/VPTracker, after
`pytracking/analysis/extract_results.py` of https://github.com/visionml/pytracking. The port takes a true box
with w and h above 0 for one, where pytracking wants x and y above 0 too; it makes negative numbers of a
result 0, where pytracking refuses them; neither takes NaN. The script keeps rates in float32: its printed
digits are these.
"""

from dataclasses import replace

import numpy as np

from evaluation.boxes.ope import OpeRules, has_area, has_no_area
from evaluation.boxes.protocol import OPE_METRICS as METRICS
from evaluation.boxes.protocol import ope_protocol
from evaluation.protocols.registry import register_protocol
from evaluation.scores import Metric

# `torch.arange(0.0, 1.05, 0.05, dtype=torch.float64)`: it counts on from every fourth value.
OVERLAPS = ((np.arange(0, 24, 4) * 0.05)[:, None] + np.arange(4) * 0.05).ravel()[:21]
RULES = OpeRules(
    is_invalid=has_no_area,
    is_countable=has_area,
    overlaps=OVERLAPS,
    error_without_truth=float("inf"),
    leaves_out_zero=False,
    lifts_negatives=True,
)
FORMULA = (
    "Pixels are inclusive (right = x + w - 1). Negative numbers of a result become 0; one with w or h of 0 "
    "repeats the one before; then the truth takes the first frame's place. No frame is left out: where the "
    "true w or h is not above 0 the overlap is -1, the centre error infinite, and the normalised error -1, "
    "which counts as precise. Success: share of frames with overlap > t for t = 0, 0.05, …, 1, reported as "
    "its mean (AUC) and at 0.5 and 0.75 (OP); precision: centre error <= t pixels, reported at 20; "
    "normalised precision: the centres divided by the true w and h, reported at 0.2. A mean over all "
    "sequences."
)
SOURCE = "evaluation/extract_results.py of https://github.com/jcwang0602/VPTracker"
EXTRA = (Metric("op50", "OP50"), Metric("op75", "OP75"))
PROTOCOL = register_protocol(
    replace(
        ope_protocol("pytracking", RULES, FORMULA, SOURCE, (METRICS[0], *EXTRA, *METRICS[1:])),
        takes_nan=False,
    )
)
