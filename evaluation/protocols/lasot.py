"""Protocol `lasot`: as LaSOT's MATLAB toolkit counts. Flag 1 says *absent*.

https://github.com/HengLan/LaSOT_Evaluation_Toolkit. Its flags are those of `annos/absent`, which it makes of
full occlusion and out of view.
"""

from evaluation.protocols.lasot_family import lasot_like

SOURCE = "https://github.com/HengLan/LaSOT_Evaluation_Toolkit"
PROTOCOL = lasot_like("lasot", 1, SOURCE)
