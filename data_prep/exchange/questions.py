"""A pair as a question by the contract: its words, its two pictures, and the answer."""

from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.exchange.forms import IMAGE, Turn
from data_prep.exchange.plan import ExportPlan, counted, plain_words
from data_prep.frames import read_image
from data_prep.geometry import Box, Size, clamp, rescale, xywh_to_xyxy
from data_prep.prompts import ANSWER_START, BOX_START, VISIBLE, Contract, answer_text, messages
from data_prep.resizing import resize, search_size, template_size
from data_prep.sampling.pairs import Pair
from data_prep.visual_prompt import crop_template, draw_prompt, drawn_as

QUALITY = 95  # of the JPEG files; colours are kept at full size, for the drawn rectangle's sake
FILLED_IN = "<bbox>"  # ms-swift writes the box of `objects` here


def turn_of(plan: ExportPlan, pair: Pair) -> tuple[Turn, dict[Path, bytes]]:
    """A pair as question and answer, and its pictures' files. Raises UserError where it cannot be one."""
    words = plain_words(pair.words)
    template, frame = read_image(Path(pair.template)), read_image(Path(pair.search))
    size = _size(frame)
    resized = search_size(plan.contract, size)
    box = None if pair.search_xywh is None else xywh_to_xyxy(pair.search_xywh)
    said = None if box is None else counted(box, size, resized, plan.coordinates)
    in_file = None if box is None else _rounded(rescale(clamp(box, size), size, resized))
    target = xywh_to_xyxy(pair.template_xywh)
    files = {
        plan.picture(pair.number, "template"): encoded(template_picture(template, target, plan.contract)),
        plan.picture(pair.number, "search"): encoded(search_picture(frame, pair, resized, plan.contract)),
    }
    turn = Turn(
        instruction=question_text(plan, words),
        answer=_answer(plan, said),
        # ms-swift looks from the working folder on, LLaMA-Factory from that of `dataset_info.json`.
        images=tuple(str(path if plan.form == "swift" else path.relative_to(plan.out)) for path in files),
        ref=words,
        box_xyxy=in_file,
    )
    return turn, files


def question_text(plan: ExportPlan, words: str) -> str:
    """The question as one text, with a placeholder for each picture."""
    (message,) = messages(plan.contract, words, True, True, plan.coordinates)
    return "".join(part.get("text", IMAGE) for part in message["content"])


def _answer(plan: ExportPlan, box: Box | None) -> str:
    if box is not None and plan.fill:
        return ANSWER_START + VISIBLE + BOX_START.removesuffix("[") + FILLED_IN + "}"
    return ANSWER_START + answer_text(plan.contract, box)


def template_picture(frame: np.ndarray, box_xyxy: Box, contract: Contract) -> np.ndarray:
    """The crop around a target, as large as the contract says; RGB uint8 (side, side, 3).

    Raises UserError where the box lies outside the frame.
    """
    size = _size(frame)
    counted(box_xyxy, size, size, "frame")
    crop = crop_template(frame, clamp(box_xyxy, size), contract)
    return resize(crop, template_size(contract, _size(crop)))


def search_picture(frame: np.ndarray, pair: Pair, resized: Size, contract: Contract) -> np.ndarray:
    """A pair's search frame at its resized size with its rectangle drawn; RGB uint8."""
    looks = drawn_as(contract, pair.prompt_colour, pair.prompt_width)
    return draw_prompt(resize(frame, resized), rescale(pair.prompt_xyxy, _size(frame), resized), looks)


def encoded(picture: np.ndarray) -> bytes:
    """A picture as a JPEG file."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def _size(image: np.ndarray) -> Size:
    return image.shape[1], image.shape[0]


def _rounded(box: Box) -> Box:
    left, top, right, bottom = map(partial(round, ndigits=2), box)
    return left, top, right, bottom
