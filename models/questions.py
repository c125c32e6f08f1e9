"""From questions to the tensors the grounder reads, by the contract; the same code trains and infers.

Images are resized here, to sides that are whole language tokens inside the contract's pixel budget
(`qwen_vl_utils.smart_resize`), so the processor's own resize has nothing left to do and an answer's box
can be converted back exactly.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from qwen_vl_utils import smart_resize
from transformers import BatchFeature

from configs.errors import UserError
from data_prep.geometry import Box, Size, rescale
from data_prep.prompts import ANSWER_START, Contract, messages
from data_prep.resizing import resize, search_size, template_size
from data_prep.visual_prompt import draw_prompt, prompt_box
from models.families import QwenVLProcessor

MERGED_PATCHES = 4  # patches in one language token

PictureKey = tuple[str, int, Box | None]  # template or search, identity of the array, rectangle drawn in it


@dataclass(frozen=True)
class Question:
    """Where is this target in this image?

    `image` is the search frame, RGB uint8 (height, width, 3); `template` a crop of the target from
    an earlier frame or None; `last_box_xyxy` where it was last seen, in pixels of the search frame,
    or None to search the whole frame without a hint. `drawn`: the rectangle is in the image already,
    as in the pictures of training pairs.
    """

    image: np.ndarray
    words: str
    template: np.ndarray | None = None
    last_box_xyxy: Box | None = None
    drawn: bool = False

    @property
    def marked(self) -> bool:
        """Whether a rectangle is to be seen in the search image."""
        return self.drawn or self.last_box_xyxy is not None


@dataclass(frozen=True)
class Encoded:
    """Tensors of a batch of questions.

    `inputs` holds `input_ids`, `attention_mask` and `mm_token_type_ids` of the batch, and
    `pixel_values` with `image_grid_thw` of its pictures, each picture once: `shown` lists for
    each question which pictures stand at its placeholders, the search image last. `resized` is each
    search image's size (width, height).
    """

    inputs: BatchFeature
    shown: list[list[int]]
    resized: list[Size]

    def to(self, device: torch.device) -> "Encoded":
        """The same batch on a device; copied while it works where its memory is pinned."""
        return dataclasses.replace(self, inputs=self.inputs.to(device, non_blocking=True))

    def pin_memory(self) -> "Encoded":
        """The same batch in memory that a GPU copies from by itself."""
        pinned = {name: values.pin_memory() for name, values in self.inputs.items()}
        return dataclasses.replace(self, inputs=BatchFeature(pinned))


class QuestionEncoder:
    """Renders questions by a contract with a model's processor.

    Raises UserError for a contract of another family, whose images would not be whole tokens.
    """

    def __init__(self, processor: QwenVLProcessor, contract: Contract) -> None:
        side = processor.image_processor.patch_size * processor.image_processor.merge_size
        if contract.side_multiple != side:
            raise UserError(
                f"contract: its side_multiple is {contract.side_multiple}, but a token of this model "
                f"shows {side} by {side} pixels; take a contract of the model's own family"
            )
        self.processor = processor
        self.contract = contract
        self._control_tokens = sorted(processor.tokenizer.get_added_vocab())

    def resized_size(self, size: Size) -> Size:
        """The size (width, height) a search frame of `size` is resized to."""
        return search_size(self.contract, size, _qwens_rule)

    def check_words(self, words: str) -> None:
        """Raise UserError where words hold a control token such as `<|image_pad|>`."""
        for token in self._control_tokens:
            if token in words:
                raise UserError(f"prompt {words!r}: {token} steers the model; leave it out")

    def encode(self, questions: Sequence[Question], answers: Sequence[str] | str) -> Encoded:
        """Tensors of a left-padded batch; each text ends with `ANSWER_START` and its answer so far.

        Questions of one image (the same array, and the same drawn rectangle) share its picture.
        Raises UserError where the words hold a control token such as `<|image_pad|>`.
        """
        answers = [answers] * len(questions) if isinstance(answers, str) else answers
        pictures, shown = self._pictures(questions)
        images = [image for image, _ in pictures]
        seen = self.processor.image_processor(images=images, return_tensors="pt", do_resize=False)
        tokens = [int(grid.prod()) // MERGED_PATCHES for grid in seen["image_grid_thw"]]
        texts = [
            self._chat(question, [tokens[index] for index in row]) + ANSWER_START + answer
            for question, row, answer in zip(questions, shown, answers, strict=True)
        ]
        read = self.processor.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
        image_token = self.processor.image_token_id
        inputs = {
            "input_ids": read["input_ids"],
            "attention_mask": read["attention_mask"],
            "mm_token_type_ids": (read["input_ids"] == image_token).int(),
            **seen,
        }
        return Encoded(BatchFeature(inputs), shown, [pictures[row[-1]][1] for row in shown])

    def images(self, question: Question) -> list[np.ndarray]:
        """What the model is shown: the template (if any) and the marked search image, both resized."""
        return [render() for _, render in self._parts(question)]

    def _pictures(
        self, questions: Sequence[Question]
    ) -> tuple[list[tuple[np.ndarray, Size]], list[list[int]]]:
        """The different pictures of a batch with their sizes; for each question its pictures' indices."""
        pictures: list[tuple[np.ndarray, Size]] = []
        known: dict[PictureKey, int] = {}
        shown = []
        for question in questions:
            row = []
            for key, render in self._parts(question):
                if key not in known:
                    known[key] = len(pictures)
                    image = render()
                    pictures.append((image, (image.shape[1], image.shape[0])))
                row.append(known[key])
            shown.append(row)
        return pictures, shown

    def _chat(self, question: Question, image_tokens: Sequence[int]) -> str:
        """The question's text with every image's placeholder as often as the image has tokens."""
        self.check_words(question.words)
        chat = messages(self.contract, question.words, question.template is not None, question.marked)
        text = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        placeholder = self.processor.image_token
        parts = text.split(placeholder)
        filled = (part + placeholder * count for part, count in zip(parts, image_tokens, strict=False))
        return "".join(filled) + parts[-1]

    def _parts(self, question: Question) -> list[tuple[PictureKey, Callable[[], np.ndarray]]]:
        """The template (if any) and the marked search image: what tells each apart, and how it is made."""
        search = ("search", id(question.image), question.last_box_xyxy), lambda: self._search(question)
        template = question.template
        if template is None:
            return [search]
        return [(("template", id(template), None), lambda: self._template(template)), search]

    def _search(self, question: Question) -> np.ndarray:
        """The search image, resized, with the rectangle drawn where one is asked for."""
        size = (question.image.shape[1], question.image.shape[0])
        resized = self.resized_size(size)
        search = resize(question.image, resized)
        if question.last_box_xyxy is None:
            return search
        rectangle = prompt_box(question.last_box_xyxy, size, self.contract)
        return draw_prompt(search, rescale(rectangle, size, resized), self.contract)

    def _template(self, template: np.ndarray) -> np.ndarray:
        size = (template.shape[1], template.shape[0])
        return resize(template, template_size(self.contract, size, _qwens_rule))


def _qwens_rule(size: Size, min_pixels: float, max_pixels: float, multiple: int) -> Size:
    """`smart_resize` of Qwen's own package, with sizes as (width, height)."""
    # It is annotated for whole numbers of pixels, and takes any.
    limits: dict[str, Any] = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    height, width = smart_resize(size[1], size[0], factor=multiple, **limits)
    return width, height
