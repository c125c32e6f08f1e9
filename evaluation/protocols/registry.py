"""Protocols by the names that commands give them."""

import importlib

from evaluation.config import EvaluationSettings
from evaluation.scores import Evaluation


def evaluate(settings: EvaluationSettings) -> Evaluation:
    """Score what the settings name by the protocol that they name: one of `evaluation.config.PROTOCOLS`.

    A protocol is the module `evaluation.protocols.<name>` with a function `evaluate(settings)`; only the one
    that is asked for is imported.
    """
    module = importlib.import_module(f"evaluation.protocols.{settings.protocol}")
    scored: Evaluation = module.evaluate(settings)
    return scored
