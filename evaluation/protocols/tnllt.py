"""Protocol `tnllt`: as TNLLT's MATLAB toolkit counts. Flag 0 says *absent*.

`TNLLT_Evaluation_Toolkit` in https://github.com/Event-AHU/Open_VLTrack: LaSOT's, with the flag turned.
"""

from evaluation.boxes.evaluate import evaluate_boxes
from evaluation.config import EvaluationSettings
from evaluation.protocols.lasot_family import lasot_like
from evaluation.scores import Evaluation

SOURCE = "TNLLT_Evaluation_Toolkit, https://github.com/Event-AHU/Open_VLTrack"
PROTOCOL = lasot_like("tnllt", 0, SOURCE)


def evaluate(settings: EvaluationSettings) -> Evaluation:
    """Score what the settings name."""
    return evaluate_boxes(PROTOCOL, settings)
