"""Protocols `otb`, `lasot`, `tnl2k` and `tnllt`: one-pass evaluation as four MATLAB toolkits count it.

- `otb`: Y. Wu, J. Lim, M.-H. Yang, "Online Object Tracking: A Benchmark" (CVPR 2013),
  `tracker_benchmark_v1.0`: `util/calcSeqErrRobust.m`, `util/calcRectInt.m`, `genPerfMat.m`, `perfPlot.m`.
- `lasot`: https://github.com/HengLan/LaSOT_Evaluation_Toolkit, which came from OTB's:
  `utils/calc_seq_err_robust.m`, `calc_rect_int.m`, `eval_tracker.m` and `plot_draw_save.m`. It also has
  normalised precision, and flags of absence (`annos/absent`, made of full occlusion and out of view).
- `tnl2k`: https://github.com/wangxiao5791509/TNL2K_evaluation_toolkit, a copy of LaSOT's. It reads boxes from
  `annos/gt_rect/<seq>.txt`, attributes from `annos/att/<seq>_attribute.txt`, and results from
  `<tracker>/<seq>.txt` where there is no `<tracker>_tracking_result`. Its script prints the mean of the
  normalised precision curve. Papers print its value at 0.2, as for all others, and so does this protocol.
- `tnllt`: `TNLLT_Evaluation_Toolkit` in https://github.com/Event-AHU/Open_VLTrack, another copy of LaSOT's.

In `lasot` and `tnl2k` flag 1 says *absent*; in `tnllt` flag 0 does.
"""

from evaluation.boxes.ope import (
    OVERLAPS,
    OpeRules,
    has_no_area_or_all_nan,
    has_no_area_or_any_nan,
    is_all_positive,
)
from evaluation.boxes.protocol import PRECISION_METRIC, SUCCESS_METRIC, BoxProtocol, ope_protocol, with_flags
from evaluation.protocols.registry import register_protocol

OTB_RULES = OpeRules(
    # MATLAB's `if isnan(r)` is true only where all four numbers are NaN. So OTB's toolkit does not repair a
    # result in which some numbers are NaN and others are not; LaSOT's does.
    is_invalid=has_no_area_or_all_nan,
    is_countable=is_all_positive,
    overlaps=OVERLAPS,
    normalised=False,
)
OTB_FORMULA = (
    "Coordinates are inclusive (right = x + w - 1). A result of four NaN, or with w or h of 0 or less, "
    "repeats the previous one. Then the first result is replaced by the ground truth. Success: the share of "
    "frames with overlap > t for t = 0:0.05:1, reported as its mean. Precision: the share with a centre "
    "error <= t pixels for t = 0:50, reported at 20. Where any of the true x, y, w, h is 0 or less, overlap "
    "and error are -1, which counts as precise but not as a success. All are means over sequences, without "
    "those whose curve is zero everywhere."
)
LASOT_RULES = OpeRules(
    is_invalid=has_no_area_or_any_nan,
    is_countable=is_all_positive,
    overlaps=OVERLAPS,
    excludes_absent=True,
)
LASOT_FORMULA = (
    "Coordinates are inclusive (right = x + w - 1). Results longer than the ground truth are cut. A result "
    "with NaN, or with w or h of 0 or less, repeats the previous one. Then the first result is replaced by "
    "the ground truth. In frames whose flag is {flag} the target is absent: they are in no numerator, but "
    "curves are divided by the number of all frames. Success: the share of frames with overlap > t for "
    "t = 0:0.05:1, reported as its mean. Precision: the share with a centre error <= t pixels for t = 0:50, "
    "reported at 20. Normalised precision: the centres are divided by the true w and h, t = 0:0.01:0.5, "
    "reported at 0.2. Where any of the true x, y, w, h is 0 or less, overlap and errors are -1, which counts "
    "as precise but not as a success. All are means over sequences, without those whose curve is zero "
    "everywhere."
)


def _lasot_like(name: str, absent_flag: int, source: str) -> BoxProtocol:
    """LaSOT's toolkit or a copy of it."""
    protocol = ope_protocol(name, LASOT_RULES, LASOT_FORMULA.format(flag=absent_flag), source)
    return register_protocol(with_flags(protocol, absent_flag))


OTB = register_protocol(
    ope_protocol(
        "otb",
        OTB_RULES,
        OTB_FORMULA,
        "tracker_benchmark_v1.0 of https://doi.org/10.1109/CVPR.2013.312",
        (SUCCESS_METRIC, PRECISION_METRIC),
    )
)
LASOT = _lasot_like("lasot", 1, "https://github.com/HengLan/LaSOT_Evaluation_Toolkit")
TNL2K = _lasot_like("tnl2k", 1, "https://github.com/wangxiao5791509/TNL2K_evaluation_toolkit")
TNLLT = _lasot_like("tnllt", 0, "TNLLT_Evaluation_Toolkit, https://github.com/Event-AHU/Open_VLTrack")
