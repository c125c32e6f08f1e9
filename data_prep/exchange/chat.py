"""Question and answer as a chat with images, the form of records that ms-swift and LLaMA-Factory share.

Both trainers insert an image at each `<image>` of a text, in the order of the row's `images`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from data_prep.contract.chat import answer_of, messages
from data_prep.exchange.exporter import ExportPlan, Record, counted, plain_expression
from data_prep.geometry import Box
from data_prep.sampling.images import images_of
from data_prep.sampling.pairs import Pair

IMAGE = "<image>"
QUALITY = 95  # of the JPEG files; colours are kept at full resolution, for the sake of the drawn rectangle
FILLED_IN = "<bbox>"  # ms-swift writes the box of `objects` here


@dataclass(frozen=True)
class Turn:
    """A question with its images, and its answer.

    The question is `instruction`, a line break and `query`; the break is left out where one of them is empty.
    `box_xyxy` is the answer's box in pixels of the last image's file, and `ref` is what it is called; the box
    is None where the target is absent. A turn that does not ask for a box has no `ref`.
    """

    instruction: str
    answer: str
    images: tuple[str, ...]
    query: str = ""
    ref: str | None = None
    box_xyxy: Box | None = None

    @property
    def messages(self) -> list[dict[str, str]]:
        """The question and its answer as a chat."""
        # Both parts belong to the question of the user; trainers join them in the same way.
        question = "\n".join(filter(None, (self.instruction, self.query)))
        return [{"role": "user", "content": question}, {"role": "assistant", "content": self.answer}]


RowOf = Callable[[Turn], dict[str, Any]]
"""Makes a row of a trainer's file from a turn."""


def record_of_turn(plan: ExportPlan, pair: Pair, row_of: RowOf, relative: bool) -> Record:
    """The record of a pair whose question and answer follow the plan's contract.

    The images are drawn and resized here, so that the trainer only has to read them. Their paths are absolute
    or, with `relative`, relative to the folder of the records. Raises UserError where a frame cannot be read,
    or the pair cannot be asked about.
    """
    expression = plain_expression(pair.expression)
    drawn = images_of(pair, plan.contract)
    # 1. The answer: the box in the coordinates that the question asks for.
    box = drawn.box_xyxy
    numbers = None if box is None else counted(box, drawn.frame, drawn.resized, plan.coordinates)
    # 2. The image files, template first: the order of the placeholders in the question.
    images = {"template": drawn.template, "search": drawn.search}
    files = {
        plan.image_path(pair.number, kind): encode_jpeg(image)
        for kind, image in images.items()
        if image is not None
    }
    # 3. The chat.
    turn = Turn(
        instruction=question_text(plan, expression, pair.templated, pair.marked),
        answer=_answer(plan, numbers),
        images=tuple(str(path.relative_to(plan.out) if relative else path) for path in files),
        ref=expression,
        box_xyxy=drawn.box_resized and _rounded(drawn.box_resized),
    )
    return Record(row_of(turn), files)


def question_text(plan: ExportPlan, expression: str, templated: bool = True, marked: bool = True) -> str:
    """The question as one text, with a placeholder for each image."""
    # The same function makes the questions of inference; its image parts become placeholders.
    (message,) = messages(plan.contract, expression, templated, marked, plan.coordinates)
    return "".join(part.get("text", IMAGE) for part in message["content"])


def _answer(plan: ExportPlan, numbers: Box | None) -> str:
    answers = plan.contract.format
    # The trainer replaces the placeholder by the box of `objects`, in its own coordinates.
    if numbers is not None and plan.fill:
        return answers.start + answers.render_placeholder(FILLED_IN)
    return answers.start + answer_of(plan.contract, numbers)


def encode_jpeg(image: np.ndarray) -> bytes:
    """An image, RGB uint8 (height, width, 3), as the content of a JPEG file."""
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def _rounded(box: Box) -> Box:
    left, top, right, bottom = map(partial(round, ndigits=2), box)
    return left, top, right, bottom
