"""Protocol `lasot`: as LaSOT's MATLAB toolkit counts. Flag 1 says *absent*.

https://github.com/HengLan/LaSOT_Evaluation_Toolkit. Its flags are those of `annos/absent`, which it makes of
full occlusion and out of view.
"""

from evaluation.boxes.evaluate import evaluate_boxes
from evaluation.config import EvaluationSettings
from evaluation.protocols.lasot_family import lasot_like
from evaluation.scores import Evaluation

SOURCE = "https://github.com/HengLan/LaSOT_Evaluation_Toolkit"
PROTOCOL = lasot_like("lasot", 1, SOURCE)


def evaluate(settings: EvaluationSettings) -> Evaluation:
    """Score what the settings name."""
    return evaluate_boxes(PROTOCOL, settings)
