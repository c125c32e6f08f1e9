"""From questions to the tensors the grounder reads, by the contract; the same code trains and infers.

Images are resized here, to sides that are multiples of 28 inside the contract's pixel budget
(`qwen_vl_utils.smart_resize`), so the processor's own resize has nothing left to do and a box in
the resized image's pixels can be converted back exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from qwen_vl_utils import smart_resize
from transformers import BatchFeature, ProcessorMixin

from configs.errors import UserError
from data_prep.geometry import Box, Size, rescale
from data_prep.prompts import ANSWER_START, Contract, messages
from data_prep.visual_prompt import draw_prompt, prompt_box

SIDE_MULTIPLE = 28  # pixels of one language token's side: patch 14, merged 2 by 2
ROUNDING = 1e-9  # share of a pixel budget that rounding may cost


@dataclass(frozen=True)
class Question:
    """Where is this target in this image?

    `image` is the search frame, RGB uint8 (height, width, 3); `template` a crop of the target from
    an earlier frame or None; `last_box_xyxy` where it was last seen, in pixels of the search frame,
    or None to search the whole frame without a hint.
    """

    image: np.ndarray
    words: str
    template: np.ndarray | None = None
    last_box_xyxy: Box | None = None


@dataclass(frozen=True)
class Encoded:
    """Tensors of a batch of questions, and each search image's size (width, height) after resizing."""

    inputs: BatchFeature
    resized: list[Size]


class QuestionEncoder:
    """Renders questions by a contract with a Qwen2.5-VL processor."""

    def __init__(self, processor: ProcessorMixin, contract: Contract) -> None:
        self.processor = processor
        self.contract = contract
        self._control_tokens = sorted(processor.tokenizer.get_added_vocab())

    def resized_size(self, size: Size) -> Size:
        """The size (width, height) a search frame of `size` is resized to."""
        return _budgeted(size, self.contract.min_pixels, self.contract.max_pixels)

    def encode(self, questions: Sequence[Question], answers: Sequence[str] | str) -> Encoded:
        """Tensors of a left-padded batch; each text ends with `ANSWER_START` and its answer so far.

        Raises UserError where the words hold a control token such as `<|image_pad|>`.
        """
        answers = [answers] * len(questions) if isinstance(answers, str) else answers
        texts, images, resized = [], [], []
        for question, answer in zip(questions, answers, strict=True):
            texts.append(self._chat(question) + ANSWER_START + answer)
            images += self._images(question)
            resized.append((images[-1].shape[1], images[-1].shape[0]))
        inputs = self.processor(
            text=texts, images=images, padding=True, padding_side="left", return_tensors="pt", do_resize=False
        )
        return Encoded(inputs, resized)

    def _chat(self, question: Question) -> str:
        for token in self._control_tokens:
            if token in question.words:
                raise UserError(f"prompt {question.words!r}: {token} steers the model; leave it out")
        chat = messages(
            self.contract, question.words, question.template is not None, question.last_box_xyxy is not None
        )
        return self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)

    def _images(self, question: Question) -> list[np.ndarray]:
        """The template (if any) and the marked search image, resized."""
        height, width = question.image.shape[:2]
        search_size = self.resized_size((width, height))
        search = resize(question.image, search_size)
        if question.last_box_xyxy is not None:
            rectangle = prompt_box(question.last_box_xyxy, (width, height), self.contract)
            search = draw_prompt(search, rescale(rectangle, (width, height), search_size), self.contract)
        if question.template is None:
            return [search]
        budget = self.contract.template_pixels
        template_size = (question.template.shape[1], question.template.shape[0])
        return [resize(question.template, _budgeted(template_size, budget, budget)), search]


def _budgeted(size: Size, min_pixels: int, max_pixels: int) -> Size:
    """`smart_resize` with sizes as (width, height), never above `max_pixels`.

    Where no multiples of 28 keep within the budget (`min_pixels` as large as `max_pixels`), the size is
    the largest below it. The budget is widened by less than a pixel, since `smart_resize` else loses a
    token to the last bit of a product: some squares that fit exactly came out one token smaller.
    """
    limits = {"min_pixels": min_pixels * (1 - ROUNDING), "max_pixels": max_pixels * (1 + ROUNDING)}
    height, width = smart_resize(size[1], size[0], factor=SIDE_MULTIPLE, **limits)
    if height * width > max_pixels:  # enlarged past the budget: shrink a larger copy of the picture instead
        height, width = smart_resize(max_pixels * size[1], max_pixels * size[0], SIDE_MULTIPLE, **limits)
    return max(width, SIDE_MULTIPLE), max(height, SIDE_MULTIPLE)


def resize(image: np.ndarray, size: Size) -> np.ndarray:
    """Resize RGB uint8 to (width, height): by area when it shrinks (no aliasing), else bicubic."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    shrinks = image.shape[1] * image.shape[0] > size[0] * size[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
