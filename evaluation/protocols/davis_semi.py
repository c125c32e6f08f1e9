"""Protocol `davis_semi`: DAVIS' semi-supervised measure, `davis` without a video's first and last frame."""

from evaluation.config import EvaluationSettings
from evaluation.protocols import davis
from evaluation.scores import Evaluation


def evaluate(settings: EvaluationSettings) -> Evaluation:
    """Score what the settings name."""
    return davis.evaluate(settings, semi=True)
