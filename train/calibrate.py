"""`task=calibrate`: fit the thresholds of trackers to a checkpoint, on pairs whose answers are known.

The pairs are sampled as for the evaluation of a training. Half of them are about absent targets, half of the
questions show a rectangle, and half show a template, as a tracker asks them. The numbers are those of
`models.calibration.Calibration`.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.errors import UserError
from configs.terminal import counted, echo
from data_prep.files import real_path
from evaluation.calibration import calibration_error
from infer.trackers.presence import MIN_PROBABILITY
from models.calibration import (
    CALIBRATION_FILE,
    NEUTRAL,
    Calibration,
    find_calibration,
    write_calibration,
)
from models.checkpoint_files import GROUNDER_KEY as KEY
from models.config import SHIPPED, GroundingConfig
from models.grounder.registry import load_grounder
from models.interfaces import Grounding
from train.sft.config import CalibrateSettings
from train.sft.evaluator import EvaluatedPair, evaluate_pairs
from train.sft.sources import pair_plan, worlds_folder

MIN_PAIRS = 20  # of each class: visible and absent targets
RIGHT_IOU = 0.5  # IoU from which a box counts as right
# A wrong detection does lasting harm (template and memory then show another object), a missed one only until
# the next question. So it costs as much as two right ones gain.
WRONG_COST = 2.0
BOX_PRECISION = 0.8  # share of right boxes among those that are relied on
# Consecutive answers err together, so an answer must not count for more than the model itself claims.
MAX_SCALE = 1.0
# The mean log loss of answers that say nothing is log 2; from this share of it on nothing was learned.
NO_EVIDENCE = 0.99
DECIMALS = 6


@dataclass(frozen=True)
class Answers:
    """What is fitted: an entry for each of n pairs."""

    visible: np.ndarray  # (n,) float64, the visible probability of the answer
    confidence: np.ndarray  # (n,) float64, the box confidence
    present: np.ndarray  # (n,) bool, whether the target is there
    iou: np.ndarray  # (n,) float64, IoU of the box with the target's; 0 without a target or a box

    @classmethod
    def of(cls, pairs: Sequence[EvaluatedPair]) -> "Answers":
        """The answers of evaluated pairs."""
        return cls(
            np.array([pair.answer.visible for pair in pairs], np.float64),
            np.array([pair.answer.box_confidence for pair in pairs], np.float64),
            np.array([pair.iou is not None for pair in pairs], bool),
            np.array([pair.iou or 0.0 for pair in pairs], np.float64),
        )

    @property
    def log_odds(self) -> np.ndarray:
        """The log-odds of the visible probabilities, (n,); clipped as the Bayes filter clips them."""
        clipped = self.visible.clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        return np.log(clipped / (1 - clipped))

    @property
    def weights(self) -> np.ndarray:
        """Weights (n,) by which visible and absent targets count equally; their sum is 1.

        The Bayes filter starts from even odds, whatever the share of absent targets in the data is.
        """
        share = float(self.present.mean())
        weights: np.ndarray = np.where(self.present, 0.5 / share, 0.5 / (1 - share)) / len(self.present)
        return weights


@dataclass(frozen=True)
class Figures:
    """How well a calibration fits answers; both classes count equally."""

    log_loss: float  # of the calibrated probability of presence, in nats; log 2 where it says nothing
    balanced_accuracy: float  # of the decision by `visible_threshold`
    ece: float  # expected calibration error: mean difference between probability and frequency
    activation_gain: float  # right detections minus the cost of wrong ones, by `activation_threshold`


# ---- the command ----------------------------------------------------------------------------------


def calibrate(settings: CalibrateSettings, model: GroundingConfig, out: Path, device: torch.device) -> None:
    """Fit a calibration, print what it changes, and write it.

    It is written to the folder of the checkpoint. For a hub id, for a folder that cannot be written, and
    where there is another calibration which may not be replaced, it is written to `out`.
    Raises UserError where the pairs do not suffice, or the answers say nothing about presence.
    """
    # 1. What is replaced is read first: a damaged file is reported before the questions are asked.
    before = find_calibration(model)
    plan = pair_plan(settings.data, settings.seed, worlds_folder(out), "calibrate.data")
    # All boxes are decoded: which answers count as visible is what is fitted.
    grounder = load_grounder(replace(model, box_threshold=0.0), device)
    # 2. Ask, and fit.
    pairs = evaluate_pairs(grounder, plan, range(settings.pairs), model.batch)
    answers = Answers.of(pairs)
    fitted = fit(answers)
    # 3. Report and write.
    old, new = figures_of(answers, before), figures_of(answers, fitted)
    fitted = replace(fitted, fitted_on=_record(settings, grounder, answers, old, new))
    for line in _table(before, fitted, old, new):
        echo(line)
    path = _place(model.checkpoint, out, settings.overwrite)
    write_calibration(path, fitted)
    used = "" if path.parent == Path(model.checkpoint) else f"; use it by model.calibration={path}"
    echo(f"calibration of {counted(len(pairs), 'pair')} in {path}{used}")


def _place(checkpoint: str, out: Path, overwrite: bool) -> Path:
    """Where a calibration is written: beside the contract if that is possible and allowed, else in `out`."""
    folder = Path(checkpoint)
    # The shipped checkpoints belong to the repository.
    is_shipped = real_path(folder).is_relative_to(SHIPPED)
    if not folder.is_dir() or not os.access(folder, os.W_OK) or (is_shipped and not overwrite):
        return out / CALIBRATION_FILE
    exists = (folder / CALIBRATION_FILE).exists()
    return (out if exists and not overwrite else folder) / CALIBRATION_FILE


def _record(
    settings: CalibrateSettings, grounder: Grounding, answers: Answers, before: Figures, after: Figures
) -> dict[str, Any]:
    """What the numbers were fitted on, in plain values; without a date, so equal fits give equal files."""
    return {
        "data": settings.data.title,
        "pairs": len(answers.present),
        "present": int(answers.present.sum()),
        "seed": settings.seed,
        "checkpoint": grounder.identity()["checkpoint"],
        "before": {name: round(value, DECIMALS) for name, value in asdict(before).items()},
        "after": {name: round(value, DECIMALS) for name, value in asdict(after).items()},
    }


def _table(before: Calibration, after: Calibration, old: Figures, new: Figures) -> list[str]:
    """The numbers and the figures before and after, as lines."""
    rows = {name: (value, after.values()[name]) for name, value in before.values().items()}
    rows |= {name: (value, getattr(new, name)) for name, value in asdict(old).items()}
    width = max(map(len, rows))
    return [
        f"{'':{width}}  {'before':>9}  {'fitted':>9}",
        *(f"{name:{width}}  {first:9.4f}  {second:9.4f}" for name, (first, second) in rows.items()),
    ]


# ---- fitting --------------------------------------------------------------------------------------


def fit(answers: Answers) -> Calibration:
    """The calibration that fits answers best.

    Raises UserError where there are too few pairs of a class, or the answers say nothing about presence.
    """
    num_present, num_absent = int(answers.present.sum()), int((~answers.present).sum())
    if min(num_present, num_absent) < MIN_PAIRS:
        raise UserError(
            f"calibrate.data: {num_present} of the pairs that could be read show their target and "
            f"{num_absent} do not, and {MIN_PAIRS} of each are needed; raise calibrate.pairs, "
            "calibrate.data.pairs.negative, or take other data"
        )
    # 1. The logit: logistic regression of presence on the log-odds (Platt scaling).
    scale, bias = fit_logit(answers.log_odds, answers.present, answers.weights)
    # 2. The decision about a single frame: where presence and absence are equally probable by this logit. The
    #    threshold of the best balanced accuracy on these pairs would depend on a few of them.
    visible = 1 / (1 + math.exp(bias))
    # 3. The start of tracking: the threshold of the largest expected gain. A detection is right where the
    #    target is there and its box is right. Where no threshold gains anything, that of step 2 is kept.
    gains = np.where(answers.iou >= RIGHT_IOU, 1.0, -WRONG_COST) * answers.weights
    activation = best_threshold(answers.visible, gains)
    if gains[answers.visible >= activation].sum() <= 0:
        activation = visible
    # 4. The box confidence from which boxes are right often enough.
    found = answers.present & (answers.visible >= visible)
    confidence = lowest_confidence(answers.confidence[found], answers.iou[found])
    return Calibration(
        activation_threshold=round(activation, DECIMALS),
        visible_threshold=round(visible, DECIMALS),
        logit_scale=round(scale, DECIMALS),
        logit_bias=round(bias, DECIMALS),
        min_box_confidence=round(confidence, DECIMALS),
    )


def fit_logit(log_odds: np.ndarray, present: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """`logit_scale` and `logit_bias` that minimise the weighted log loss of `scale * (log-odds + bias)`.

    Raises UserError where the answers say nothing about presence, or the opposite.
    """
    x, y, w = (torch.tensor(values, dtype=torch.float64) for values in (log_odds, present, weights))

    def minimise(scale: float | None) -> tuple[float, float, float]:
        """The scale (fitted where it is None), the shift `scale * bias`, and the log loss."""
        numbers = torch.tensor([scale or 1.0, 0.0], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([numbers], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            factor = numbers[0] if scale is None else scale
            logits = factor * x + numbers[1]
            return torch.nn.functional.binary_cross_entropy_with_logits(logits, y, w, reduction="sum")

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        optimizer.step(closure)
        fitted, shift = numbers.tolist()
        return fitted if scale is None else scale, shift, loss().item()

    # 1. Both numbers. If a threshold separates the classes, the scale grows without end.
    scale, shift, log_loss = minimise(None)
    if scale <= 0 or log_loss > NO_EVIDENCE * math.log(2):
        raise UserError(
            f"{KEY}: its visible probabilities do not tell visible from absent targets (log loss "
            f"{log_loss:.3f}, and {math.log(2):.3f} is that of a coin); check the contract with "
            "python -m models task=doctor, or fine-tune it"
        )
    # 2. With the largest scale that is allowed, the best bias is another one.
    if scale > MAX_SCALE:
        scale, shift, _ = minimise(MAX_SCALE)
    return scale, shift / scale


def best_threshold(values: np.ndarray, gains: np.ndarray) -> float:
    """The threshold above which the sum of `gains` is largest. `values` are probabilities, (n,) as `gains`.

    It lies in the middle between two neighbouring values, in log-odds: probabilities of large models are
    crowded near 0 and 1. Of equally good thresholds the one in the widest gap is taken.
    """
    # 1. From the highest value down: the gain of a threshold just below each value. Equal values cannot be
    #    separated, so only the last of them counts.
    order = np.argsort(-values, kind="stable")
    sums, sorted_values = np.cumsum(gains[order]), values[order]
    is_last = np.append(sorted_values[1:] < sorted_values[:-1], True)
    sums, sorted_values = sums[is_last], sorted_values[is_last]
    # 2. The gap below each value, down to the next one or to probability 0.
    edges = np.append(sorted_values, 0.0).clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    edges = np.log(edges / (1 - edges))
    gaps = edges[:-1] - edges[1:]
    # 3. The largest gain; among equal ones (up to rounding) the widest gap.
    best = np.flatnonzero(sums >= sums.max() - 1e-12)
    chosen = best[int(np.argmax(gaps[best]))]
    return float(1 / (1 + np.exp(-(edges[chosen] + edges[chosen + 1]) / 2)))


def lowest_confidence(confidence: np.ndarray, iou: np.ndarray) -> float:
    """The lowest box confidence from which at least `BOX_PRECISION` of the boxes are right.

    1 where no confidence suffices: such a box is then never relied on against the propagated mask. The
    neutral value where there is no box.
    """
    if not len(confidence):
        return NEUTRAL.min_box_confidence
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    precision = np.cumsum(iou[order] >= RIGHT_IOU) / np.arange(1, len(order) + 1)  # of the boxes down to each
    # Equal confidences cannot be separated: the precision of the last one holds for all of them.
    is_last = np.append(sorted_confidence[1:] < sorted_confidence[:-1], True)
    enough = np.flatnonzero((precision >= BOX_PRECISION) & is_last)
    return float(sorted_confidence[enough[-1]]) if len(enough) else 1.0


def figures_of(answers: Answers, calibration: Calibration) -> Figures:
    """The figures of a calibration on answers."""
    # 1. The calibrated probability of presence.
    logits = calibration.logit_scale * (answers.log_odds + calibration.logit_bias)
    probability = 1 / (1 + np.exp(-logits))
    clipped = probability.clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    losses = -np.log(np.where(answers.present, clipped, 1 - clipped))
    # 2. The decisions.
    weights = answers.weights
    right = (answers.visible >= calibration.visible_threshold) == answers.present
    gains = np.where(answers.iou >= RIGHT_IOU, 1.0, -WRONG_COST) * weights
    return Figures(
        float((weights * losses).sum()),
        float((weights * right).sum()),
        calibration_error(probability, answers.present, weights),
        float(gains[answers.visible >= calibration.activation_threshold].sum()),
    )
