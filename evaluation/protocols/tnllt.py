"""Protocol `tnllt`: as TNLLT's MATLAB toolkit counts. Flag 0 says *absent*.

`TNLLT_Evaluation_Toolkit` in https://github.com/Event-AHU/Open_VLTrack: LaSOT's, with the flag turned.
"""

from evaluation.protocols.lasot_family import lasot_like

SOURCE = "TNLLT_Evaluation_Toolkit, https://github.com/Event-AHU/Open_VLTrack"
PROTOCOL = lasot_like("tnllt", 0, SOURCE)
