"""A pair as a question by the contract: its expression, its two pictures, and the answer."""

from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.contract.chat import answer_of, messages
from data_prep.exchange.forms import IMAGE, Turn
from data_prep.exchange.plan import ExportPlan, counted, plain_expression
from data_prep.geometry import Box
from data_prep.sampling.images import pictures_of
from data_prep.sampling.pairs import Pair

QUALITY = 95  # of the JPEG files; colours are kept at full size, for the drawn rectangle's sake
FILLED_IN = "<bbox>"  # ms-swift writes the box of `objects` here


def turn_of(plan: ExportPlan, pair: Pair) -> tuple[Turn, dict[Path, bytes]]:
    """A pair as question and answer, and its pictures' files. Raises UserError where it cannot be one."""
    expression, pictures = plain_expression(pair.expression), pictures_of(pair, plan.contract)
    box, frame, resized = pictures.box_xyxy, pictures.frame, pictures.resized
    said = None if box is None else counted(box, frame, resized, plan.coordinates)
    shown = {"template": pictures.template, "search": pictures.search}
    files = {plan.picture(pair.number, kind): encoded(it) for kind, it in shown.items() if it is not None}
    turn = Turn(
        instruction=question_text(plan, expression, pair.templated, pair.marked),
        answer=_answer(plan, said),
        # ms-swift looks from the working folder on, LLaMA-Factory from that of `dataset_info.json`.
        images=tuple(str(path if plan.form == "swift" else path.relative_to(plan.out)) for path in files),
        ref=expression,
        box_xyxy=pictures.box_resized and _rounded(pictures.box_resized),
    )
    return turn, files


def question_text(plan: ExportPlan, expression: str, templated: bool = True, marked: bool = True) -> str:
    """The question as one text, with a placeholder for each picture."""
    (message,) = messages(plan.contract, expression, templated, marked, plan.coordinates)
    return "".join(part.get("text", IMAGE) for part in message["content"])


def _answer(plan: ExportPlan, box: Box | None) -> str:
    answers = plan.contract.format
    if box is not None and plan.fill:
        return answers.start + answers.render_placeholder(FILLED_IN)
    return answers.start + answer_of(plan.contract, box)


def encoded(picture: np.ndarray) -> bytes:
    """A picture as a JPEG file."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def _rounded(box: Box) -> Box:
    left, top, right, bottom = map(partial(round, ndigits=2), box)
    return left, top, right, bottom
