"""Protocol `tnl2k`: as TNL2K's MATLAB toolkit counts. Flag 1 says *absent*, the opposite of TNLLT's.

https://github.com/wangxiao5791509/TNL2K_evaluation_toolkit: LaSOT's, counting alike. It looks elsewhere:
boxes in `annos/gt_rect/<seq>.txt`, attributes in `annos/att/<seq>_attribute.txt`, and results in
`<tracker>/<seq>.txt` where there is no `<tracker>_tracking_result`. Its script shows the mean of the
normalised precision curve; papers, as all others, its value at 0.2, which is what is reported here.
"""

from evaluation.protocols.lasot_family import lasot_like

SOURCE = "https://github.com/wangxiao5791509/TNL2K_evaluation_toolkit"
PROTOCOL = lasot_like("tnl2k", 1, SOURCE)
