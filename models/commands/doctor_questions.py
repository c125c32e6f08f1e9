"""The questions of the doctor: rendered images whose answers are known, and what wrong answers mean."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from configs.errors import UserError
from data_prep.contract.chat import to_frame
from data_prep.contract.contract import BUILT_IN, Contract
from data_prep.contract.formats import AnswerFormat
from data_prep.geometry import Box, box_of_mask, iou
from data_prep.world.draw import draw_frame
from data_prep.world.phrases import plainly
from data_prep.world.presets import PRESETS, TRAINING_SEEDS
from data_prep.world.scene import Scene, make_scene
from data_prep.world.vocabulary import COLOURS, SHAPES
from models.calibration import Calibration
from models.commands.findings import Findings
from models.grounder.forward import forward
from models.grounder.grounder import Grounder
from models.interfaces import Answer, Question

# Scenes that no training has seen, on a plain background. In the second one things are a third as large.
EASY = PRESETS["plain"]
SMALL = replace(EASY, radius=(0.05, 0.06))
SCENE = TRAINING_SEEDS + 100_000_005
RIGHT_IOU = 0.5  # IoU from which a box counts as right
SAME_ANSWER = 0.02  # difference of two visible probabilities below which they count as the same
MIN_DECISION = 0.5  # share of the next token's probability that the tokens of a decision must have
FREE_TOKENS = 24  # tokens that are generated freely


@dataclass(frozen=True, eq=False)
class Case:
    """A question, and the true box of its target in pixels of the frame; None: it is absent."""

    title: str
    question: Question
    box_xyxy: Box | None


def rendered_cases() -> list[Case]:
    """Three questions: a target that is visible, one that is absent, and a small one."""
    easy, small = (make_scene(preset.first_seed + SCENE, preset) for preset in (EASY, SMALL))
    visible, hidden = _case("visible", easy), _absent_case(easy)
    return [visible, hidden, _case("small", small)]


def _case(title: str, scene: Scene) -> Case:
    image, masks = draw_frame(scene, 0)
    target = scene.things[scene.target]
    return Case(title, _question(image, target.colour, target.shape), box_of_mask(masks[scene.target]))


def _absent_case(scene: Scene) -> Case:
    """A question about a colour and a shape of which neither is in the scene."""
    colour = next(name for name in COLOURS if name not in {thing.colour for thing in scene.things})
    shape = next(name for name in SHAPES if name not in {thing.shape for thing in scene.things})
    return Case("absent", _question(draw_frame(scene, 0)[0], colour, shape), None)


def _question(image: np.ndarray, colour: str, shape: str) -> Question:
    """A question about the whole image, named as its region: so there is no second look at a part of it.

    The numbers in the text of the answer are examined; those of a second look would be of another image.
    """
    height, width = image.shape[:2]
    return Question(image, plainly(colour, shape), region_xyxy=(0.0, 0.0, float(width), float(height)))


def rendered_frames(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The first frames of the easy scene, RGB uint8 (height, width, 3), and the target's masks in them."""
    scene = make_scene(EASY.first_seed + SCENE, EASY)
    drawn = [draw_frame(scene, t) for t in range(count)]
    return [image for image, _ in drawn], [masks[scene.target] for _, masks in drawn]


# ---- answers --------------------------------------------------------------------------------------


def answer_lines(cases: Sequence[Case], answers: Sequence[Answer]) -> list[str]:
    """The answers beside the truth, as the lines of a table."""
    lines = [f"{'':9}{'expression':24}{'visible':>8}  {'box':28}{'true box':28}{'IoU':>5}"]
    for case, answer in zip(cases, answers, strict=True):
        lines.append(
            f"{case.title:9}{case.question.expression:24}{answer.visible:8.3f}  "
            f"{box_cells(answer.box_xyxy, case)}"
        )
    return lines


def overlap_of(case: Case, answer: Answer) -> float:
    """The IoU of an answer's box with the true one; 0 where one of them is missing."""
    if case.box_xyxy is None or answer.box_xyxy is None:
        return 0.0
    return iou(case.box_xyxy, answer.box_xyxy)


def box_cells(box: Box | None, case: Case) -> str:
    """The box of an answer, the true one, and their IoU, as columns of a table."""
    overlap = "" if case.box_xyxy is None else f"{0.0 if box is None else iou(case.box_xyxy, box):.2f}"
    return f"{_box_text(box):28}{_box_text(case.box_xyxy):28}{overlap:>5}"


def _box_text(box: Box | None) -> str:
    return "-" if box is None else ", ".join(f"{side:.0f}" for side in box)


def is_right(case: Case, answer: Answer, calibration: Calibration) -> bool:
    """Whether an answer about a visible target finds it."""
    return answer.visible >= calibration.visible_threshold and overlap_of(case, answer) >= RIGHT_IOU


def judge_answers(
    grounder: Grounder,
    calibration: Calibration,
    cases: Sequence[Case],
    answers: Sequence[Answer],
    found: Findings,
) -> None:
    """Say in words what wrong answers mean. `cases` are those of `rendered_cases`."""
    (visible, _, small), (answer, absent_answer, small_answer) = cases, answers
    # 1. Where even the easy target is not found, look for the reason: nothing else would be meaningful.
    if not is_right(visible, answer, calibration):
        found.fault(_reason_of_wrong_answer(grounder, calibration, visible, answer))
        return
    # 2. The decision between visible and absent.
    threshold = calibration.visible_threshold
    if not grounder.encoder.form(visible.question).answer_format.has_decision:
        found.note("contract: its answers do not say whether the target is visible, so it is never absent")
    elif absent_answer.visible >= threshold:
        found.note(_claims_absent_target(absent_answer))
    # 3. Small targets.
    if not is_right(small, small_answer, calibration):
        found.note(
            f"sizes: a target of {_side(small):.0f} pixels in a frame of 480x320 is not found; "
            + (
                "its size of search images is fixed"
                if all(grounder.contract.search_size)
                else "small targets need more tokens (model.search_tokens=)"
            )
        )


def judge_detections(
    calibration: Calibration, cases: Sequence[Case], answers: Sequence[Answer], found: Findings
) -> None:
    """As `judge_answers`, for a grounder that is no multimodal LLM.

    Wrong answers are notes and no faults, because the grounder may not know rendered images.
    """
    (visible, _, small), (answer, absent_answer, small_answer) = cases, answers
    if not is_right(visible, answer, calibration):
        found.note(
            f"grounder: the target of an easy question is not found (visible {answer.visible:.3f}, IoU "
            f"{overlap_of(visible, answer):.2f}); its weights are untrained or damaged, or it does not know "
            "rendered images"
        )
        return
    if absent_answer.visible >= calibration.visible_threshold:
        found.note(_claims_absent_target(absent_answer))
    if not is_right(small, small_answer, calibration):
        found.note(f"sizes: a target of {_side(small):.0f} pixels in a frame of 480x320 is not found")


def _claims_absent_target(answer: Answer) -> str:
    return (
        f"presence: an absent target is claimed to be visible (probability {answer.visible:.3f}); "
        "fit the thresholds with python -m train task=calibrate"
    )


def _side(case: Case) -> float:
    box = case.box_xyxy
    return 0.0 if box is None else max(box[2] - box[0], box[3] - box[1])


def _reason_of_wrong_answer(grounder: Grounder, calibration: Calibration, case: Case, answer: Answer) -> str:
    """Why the easy question is answered wrongly, as far as it can be found out by asking differently."""
    said = f"visible {answer.visible:.3f}, IoU {overlap_of(case, answer):.2f}"
    start = f"contract: the target of an easy question is not found ({said})"
    other = "the contract is not that of these weights"
    # 1. The same numbers in another unit.
    if (unit := _fitting_unit(grounder, case, answer)) is not None:
        return (
            f"{start}, but the numbers of the answer fit if they are read as {unit!r} instead of "
            f"{grounder.contract.coordinates!r}; {other}"
        )
    # 2. The same question by other contracts.
    fitting = [
        name
        for name, contract in BUILT_IN.items()
        # A thought takes minutes, and weights that think are recognised by their chat template.
        if contract != replace(grounder.contract, other_search_sizes=())
        and not contract.thinking
        and _is_right_by(grounder, contract, calibration, case)
    ]
    if fitting:
        return (
            f"{start}, but it is found when asked by {' or '.join(fitting)}; {other}: remove its "
            f"contract.json and take model.contract={fitting[0]}"
        )
    # 3. None of them: does the model write answers of this format at all?
    share, answers = decision_share(grounder, case), grounder.encoder.form(case.question).answer_format
    if share < MIN_DECISION:
        return (
            f"{start}, and only {share:.0%} of the next token's probability is on {answers.visible!r} or "
            f"{answers.absent!r}; {other}, or they are untrained or damaged"
        )
    return f"{start} by any built-in contract; the weights are untrained or damaged, or have another contract"


def _fitting_unit(grounder: Grounder, case: Case, answer: Answer) -> str | None:
    """The other unit of coordinates in which the answer's numbers give the true box, or None."""
    numbers = grounder.encoder.form(case.question).answer_format.parse(answer.text)
    size = case.question.image.shape[1], case.question.image.shape[0]
    if numbers is None or case.box_xyxy is None:
        return None
    for unit in ("resized", "thousand", "frame"):
        other: Any = replace(grounder.contract, coordinates=unit)
        box = to_frame(other, numbers, grounder.encoder.resized_size(size), size)
        if unit != grounder.contract.coordinates and box is not None and iou(box, case.box_xyxy) >= RIGHT_IOU:
            return unit
    return None


def _is_right_by(grounder: Grounder, contract: Contract, calibration: Calibration, case: Case) -> bool:
    """Whether the question is answered rightly when it is asked by another contract."""
    try:
        other = Grounder(grounder.model, grounder.encoder.processor, contract, checkpoint=grounder.checkpoint)
        (answer,) = other.locate([case.question])
    except UserError:  # a contract of another family, or one whose tokens this vocabulary does not have
        return False
    return is_right(case, answer, calibration)


# ---- the first tokens of an answer ----------------------------------------------------------------


@torch.inference_mode()
def decision_share(grounder: Grounder, case: Case) -> float:
    """The probability, after the start of an answer, that the next token is one of the contract's decision.

    1 for a contract without a decision, and for one whose models think before they decide.
    """
    answers = grounder.encoder.form(case.question).answer_format
    if not answers.has_decision or answers.thought_end:
        return 1.0
    encoded = grounder.encoder.encode([case.question], "").to(grounder.device)
    output = forward(grounder.model, encoded, use_cache=False, logits_to_keep=1)
    logits = output.logits[0, -1]  # (1, 1, vocabulary) -> (vocabulary,)
    tokens = {token_ids(grounder, text)[0] for text in _decisions(answers)}
    return float(logits.float().softmax(-1)[sorted(tokens)].sum())


def _decisions(answers: AnswerFormat) -> tuple[str, ...]:
    """All texts of the decision between visible and absent."""
    return answers.visible, answers.absent, *answers.also_visible, *answers.also_absent


def token_ids(grounder: Grounder, text: str) -> list[int]:
    """The tokens of a text, without special ones."""
    ids: list[int] = grounder.tokenizer(text, add_special_tokens=False).input_ids
    return ids


@torch.inference_mode()
def free_answer(grounder: Grounder, case: Case) -> str:
    """The first tokens that the model writes by itself: nothing is forced, as on a server."""
    encoded = grounder.encoder.encode([case.question], "", starts="").to(grounder.device)
    model: Any = grounder.model  # its types of `generate` do not fit each other
    written = model.generate(**encoded.inputs, max_new_tokens=FREE_TOKENS, do_sample=False)
    return str(grounder.tokenizer.decode(written[0, encoded.inputs["input_ids"].shape[1] :]))


def judge_free_answer(grounder: Grounder, case: Case, text: str, found: Findings) -> None:
    """Note where a free answer does not begin as the contract says. A thought may begin in any way."""
    answers = grounder.encoder.form(case.question).answer_format
    after = _decisions(answers) if answers.has_decision else (answers.box_start,)
    if not answers.thought_end and not any(text.startswith(answers.start + each) for each in after):
        found.note(
            f"generation: a free answer begins with {text[:40]!r} instead of {answers.start + after[0]!r}; "
            "here the start is forced, but a server that generates freely would not answer by the contract"
        )
