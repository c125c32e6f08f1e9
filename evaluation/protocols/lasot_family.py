"""What the toolkits of LaSOT, TNL2K and TNLLT have in common: all but which flag says *absent*.

https://github.com/HengLan/LaSOT_Evaluation_Toolkit: `utils/calc_seq_err_robust.m`, `calc_rect_int.m`,
`eval_tracker.m` and `plot_draw_save.m`; the other two are copies of it.
"""

from evaluation.boxes.ope import OVERLAPS, OpeRules, has_no_area_or_any_nan, is_all_positive
from evaluation.boxes.protocol import BoxProtocol, ope_protocol, with_flags

RULES = OpeRules(
    is_invalid=has_no_area_or_any_nan,
    is_countable=is_all_positive,
    overlaps=OVERLAPS,
    drops_absent=True,
)
FORMULA = (
    "Pixels are inclusive (right = x + w - 1). Results longer than the truth are cut; then one with NaN, or "
    "w or h not above 0, repeats the one before; then the truth takes the first frame's place. Frames whose "
    "flag is {flag} are absent and in no numerator, but curves are divided by all frames. Success: share of "
    "frames with overlap > t for t = 0:0.05:1, reported as its mean; precision: centre error <= t pixels "
    "for t = 0:50, reported at 20; normalised precision: the centres divided by the true w and h, "
    "t = 0:0.01:0.5, reported at 0.2. Where any of the true x, y, w, h is not above 0, overlap and errors "
    "are -1: no success, but precise. A mean over sequences, without those whose whole curve is zero."
)


def lasot_like(name: str, absent_flag: int, source: str) -> BoxProtocol:
    """The protocol of a toolkit of this family."""
    protocol = ope_protocol(name, RULES, FORMULA.format(flag=absent_flag), source)
    return with_flags(protocol, absent_flag)
