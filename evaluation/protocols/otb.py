"""Protocol `otb`: as OTB's MATLAB toolkit counts in one-pass evaluation.

Y. Wu, J. Lim, M.-H. Yang, "Online Object Tracking: A Benchmark" (CVPR 2013), `tracker_benchmark_v1.0`:
`util/calcSeqErrRobust.m`, `util/calcRectInt.m`, `genPerfMat.m` and `perfPlot.m`. LaSOT's toolkit came from
it; here no frame is absent, errors are not normalised, and a result that holds some NaN but not only NaN is
not repaired (`isnan(r)` is four truths there, and `if` wants all of them).
"""

from evaluation.boxes.ope import OVERLAPS, OpeRules, has_no_area_or_all_nan, is_all_positive
from evaluation.boxes.protocol import PRECISION_METRIC, SUCCESS_METRIC, ope_protocol

RULES = OpeRules(
    is_invalid=has_no_area_or_all_nan,
    is_countable=is_all_positive,
    overlaps=OVERLAPS,
    normalised=False,
)
FORMULA = (
    "Pixels are inclusive (right = x + w - 1). A result of NaN alone, or with w or h not above 0, repeats "
    "the one before; then the truth takes the first frame's place. Success: share of frames with overlap > t "
    "for t = 0:0.05:1, reported as its mean; precision: centre error <= t pixels for t = 0:50, reported at "
    "20. Where any of the true x, y, w, h is not above 0, overlap and error are -1: no success, but precise. "
    "A mean over sequences, without those whose whole curve is zero."
)
SOURCE = "tracker_benchmark_v1.0 of https://doi.org/10.1109/CVPR.2013.312"
PROTOCOL = ope_protocol("otb", RULES, FORMULA, SOURCE, (SUCCESS_METRIC, PRECISION_METRIC))
