"""The canary: questions with known answers, asked before anything is tracked.

A server may have other weights, another contract, another chat template or other preprocessing than the
checkpoint that `model=` names. Its answers would then be wrong without any error. So it is asked the rendered
questions of the doctor first. What its answers are compared with is `engine.canary`:

- `known`: the true boxes. Only gross faults are noticed.
- `local`: the answers of the same weights in this process.
- a file: the answers that the doctor of the weights has written (`canary.json`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.contract.contract import Contract, contract_values
from data_prep.files import read_text, write_whole
from data_prep.geometry import Box, iou
from models.calibration import find_calibration
from models.commands.doctor_questions import RIGHT_IOU, Case, rendered_cases
from models.config import GroundingConfig
from models.devices import free_memory
from models.grounder.registry import load_grounder
from models.interfaces import Answer, Grounding

CANARY_FILE = "canary.json"
LARGEST_CANARY = 1 << 20  # bytes
WRITE_AGAIN = "write it with python -m models task=doctor, where the weights are"
REMEDY = (
    "compare its weights, contract and image processor with model=, or skip this check with engine.canary=off"
)


@dataclass(frozen=True)
class KnownAnswer:
    """The answer to a question of the canary: the visible probability, and the box in pixels of the frame."""

    visible: float
    box_xyxy: Box | None

    @classmethod
    def of(cls, answer: Answer) -> "KnownAnswer":
        """What is compared of an answer. A box that nobody would use is left out.

        In this process a box is decoded even where the target is likely absent; a server then writes none.
        """
        return cls(answer.visible, answer.box_xyxy if answer.visible >= 0.5 else None)


def write_canary(path: Path, grounder: Grounding, answers: Sequence[Answer]) -> None:
    """Write the answers to `rendered_cases` for `engine.canary=FILE`."""
    known = {
        case.title: vars(KnownAnswer.of(answer))
        for case, answer in zip(rendered_cases(), answers, strict=True)
    }
    content = {
        "checkpoint": grounder.identity()["checkpoint"],
        "contract": contract_values(grounder.contract),
        "answers": known,
    }
    write_whole(path, json.dumps(content, indent=1) + "\n")


def read_canary(path: Path, contract: Contract) -> dict[str, KnownAnswer]:
    """The answers of a file by the titles of their cases.

    Raises UserError where the file is none, or holds the answers to questions of another contract.
    """
    text = read_text(path, WRITE_AGAIN, LARGEST_CANARY)
    try:
        content: Any = json.loads(text)
        answers = {title: _known_answer(values) for title, values in content["answers"].items()}
        if set(answers) != {case.title for case in rendered_cases()}:
            raise ValueError("it has other questions")
        of_contract = content["contract"]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as fault:
        raise UserError(
            f"engine.canary={path}: not the answers of a canary ({fault}); {WRITE_AGAIN}"
        ) from None
    # As JSON, which has lists in place of tuples.
    if of_contract != json.loads(json.dumps(contract_values(contract))):
        raise UserError(
            f"engine.canary={path}: its questions were asked by another contract than that of model=; "
            f"{WRITE_AGAIN}, with the same keys of model="
        )
    return answers


def _known_answer(values: Mapping[str, Any]) -> KnownAnswer:
    box = values["box_xyxy"]
    if box is None:
        return KnownAnswer(float(values["visible"]), None)
    left, top, right, bottom = map(float, box)
    return KnownAnswer(float(values["visible"]), (left, top, right, bottom))


def ask_canary(
    canary: str, tolerance: float, named: str, grounder: Grounding, config: GroundingConfig, device: Any
) -> None:
    """Ask the rendered questions, and raise UserError where an answer is wrong.

    `canary` is the value of `engine.canary`. `tolerance` is the largest difference of two visible
    probabilities, and the largest 1 - IoU of two boxes; with `known` only the target of the easy question
    must be found. `named` begins the message. `config` and `device` are those of the weights in this process.
    """
    if canary == "off":
        return
    reference = None
    if canary == "local":
        reference = _local_answers(config, device)
    elif canary != "known":
        reference = read_canary(Path(canary), grounder.contract)
    visible_threshold = find_calibration(config).visible_threshold
    cases = rendered_cases()
    answers = grounder.locate([case.question for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        found = KnownAnswer.of(answer)
        if reference is None:
            fault = _fault_of_truth(case, answer, visible_threshold)
        else:
            fault = _difference(found, reference[case.title], tolerance)
        if fault:
            raise UserError(
                f"{named}: the canary's question about {case.question.expression!r} is answered wrongly: "
                f"{fault}; {REMEDY}"
            )


def _local_answers(config: GroundingConfig, device: Any) -> dict[str, KnownAnswer]:
    """The answers of the weights in this process, which are released again."""
    cases = rendered_cases()
    answers = load_grounder(config, device).locate([case.question for case in cases])
    free_memory()
    return {case.title: KnownAnswer.of(answer) for case, answer in zip(cases, answers, strict=True)}


def _fault_of_truth(case: Case, answer: Answer, visible_threshold: float) -> str:
    """Why an answer to the easy question is wrong; empty for a right one, and for the harder questions."""
    if case.title != "visible" or case.box_xyxy is None:
        return ""
    overlap = 0.0 if answer.box_xyxy is None else iou(answer.box_xyxy, case.box_xyxy)
    if answer.visible >= visible_threshold and overlap >= RIGHT_IOU:
        return ""
    return f"visible {answer.visible:.3f}, IoU with the true box {overlap:.2f}"


def _difference(found: KnownAnswer, expected: KnownAnswer, tolerance: float) -> str:
    """How an answer differs from the expected one; empty where it does not."""
    if not abs(found.visible - expected.visible) <= tolerance:
        return f"visible {found.visible:.3f}, and {expected.visible:.3f} by the weights themselves"
    if found.box_xyxy is None or expected.box_xyxy is None:
        # One of the two probabilities may be just below one half.
        is_same = found.box_xyxy == expected.box_xyxy or abs(expected.visible - 0.5) <= tolerance
        return "" if is_same else f"box {found.box_xyxy}, and {expected.box_xyxy} by the weights themselves"
    overlap = iou(found.box_xyxy, expected.box_xyxy)
    if overlap >= 1 - tolerance:
        return ""
    return f"its box has an IoU of {overlap:.2f} with that of the weights themselves"
