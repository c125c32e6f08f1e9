"""From questions to input tensors, by the contract. Training and inference share this code.

Images are resized here, to sides that are whole language tokens inside the contract's pixel budget
(`qwen_vl_utils.smart_resize`). The processor then resizes nothing, and the box of an answer can be converted
back exactly.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from qwen_vl_utils import smart_resize
from transformers import BatchFeature

from configs.errors import UserError
from configs.terminal import shortened
from data_prep.contract.chat import box_text, counted_size, messages, to_frame
from data_prep.contract.contract import Contract, QuestionForm
from data_prep.contract.crops import Square, central_box, resized_box, search_crop
from data_prep.contract.images import (
    resized_template,
    search_image,
    search_size,
    template_size,
    visual_prompt_box,
)
from data_prep.geometry import Box, Size, clamp, is_inside, rescale, round_box
from models.grounder.chat_template import end_of_turn, is_thinking, render_chat
from models.grounder.model import QwenVLProcessor
from models.interfaces import Question

MERGED_PATCHES = 4  # patches in one language token
LONGEST_EXPRESSION = 20_000  # characters; time and memory of attention grow with the square of the length
MAX_IN_MESSAGE = 120  # characters of an expression in a message

ImageKey = tuple[str, int | bytes, Box | None]
"""Which image it is, the id of the array or a hash of its pixels, and the box to draw or to crop around."""


@dataclass(frozen=True)
class Encoded:
    """Tensors of a batch of questions.

    `inputs` holds `input_ids`, `attention_mask` and `mm_token_type_ids` (batch, length), left-padded, and
    `pixel_values` (patches, values of a patch) with `image_grid_thw` (images, 3) of the images, each image
    once. `image_indices` lists for each question the images at its placeholders, the search image last.
    `resized` is the size (width, height) of each question's search image. `image_keys` tell the images apart.
    `are_of_tracks`: all questions are those of tracks.
    """

    inputs: BatchFeature
    image_indices: list[list[int]]
    resized: list[Size]
    image_keys: list[ImageKey] = field(default_factory=list)
    are_of_tracks: bool = False

    def to(self, device: torch.device) -> "Encoded":
        """The same batch on a device; the copy is asynchronous where its memory is pinned."""
        return dataclasses.replace(self, inputs=self.inputs.to(device, non_blocking=True))

    def pin_memory(self) -> "Encoded":
        """The same batch in pinned memory, from which a GPU copies asynchronously."""
        pinned = {name: values.pin_memory() for name, values in self.inputs.items()}
        return dataclasses.replace(self, inputs=BatchFeature(pinned))


class QuestionEncoder:
    """Encodes questions by a contract, with the processor of a model.

    Raises UserError for a contract of another family, whose images would not have whole tokens.
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

    @cached_property
    def end_of_turn(self) -> str:
        """The text that ends an answer, such as `<|im_end|>`. Only training needs it."""
        return end_of_turn(self.processor)

    def resized_size(self, size: Size) -> Size:
        """The size (width, height) that a search frame of `size` is resized to."""
        return search_size(self.contract, size, _smart_resize)

    def check_expression(self, expression: str) -> None:
        """Raise UserError for a very long expression, or one with a control token such as `<|image_pad|>`."""
        if len(expression) > LONGEST_EXPRESSION:
            fault = f"the prompt has {len(expression)} letters, more than {LONGEST_EXPRESSION}"
            raise UserError(f"{fault}; say it in fewer words")
        for token in self._control_tokens:
            if token in expression:
                raise UserError(f"{token} steers the model; leave it out of the prompt")

    def form(self, question: Question) -> QuestionForm:
        """How a question is asked and answered, by the contract."""
        return self.contract.form(question.template is not None, question.marked)

    def encode(
        self,
        questions: Sequence[Question],
        answers: Sequence[str] | str,
        thoughts: Sequence[str] | None = None,
        starts: str | None = None,
    ) -> Encoded:
        """Tensors of a left-padded batch; each text ends with the start of an answer and its answer so far.

        `thoughts`, one for each question, are written before the start of the answers. `starts` replaces
        that start; None: that of each question's format. Questions about the same array with the same
        rectangle share one encoded image.

        Raises UserError where an expression holds a control token such as `<|image_pad|>`.
        """
        # 1. The distinct images: resized, with their visual prompts drawn, and cut into patches.
        answers = [answers] * len(questions) if isinstance(answers, str) else answers
        images, image_indices = self._images(questions)
        vision = self.processor.image_processor(
            images=list(images.values()), return_tensors="pt", do_resize=False
        )
        # 2. The texts. An image has as many placeholder tokens as the vision tower returns features for it:
        #    one for each 2x2 patches.
        image_tokens = [int(grid.prod()) // MERGED_PATCHES for grid in vision["image_grid_thw"]]
        thoughts = [""] * len(questions) if thoughts is None else thoughts
        texts = [
            self._chat(question, [image_tokens[index] for index in row])
            + thought
            + (self.form(question).answer_format.start if starts is None else starts)
            + answer
            for question, row, thought, answer in zip(
                questions, image_indices, thoughts, answers, strict=True
            )
        ]
        # 3. The tokens, padded on the left: so the last column is the next token of every answer.
        tokenized = self.processor.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
        image_token = self.processor.image_token_id
        inputs = {
            "input_ids": tokenized["input_ids"],
            "attention_mask": tokenized["attention_mask"],
            # 1 at the placeholders of images, 0 at text.
            "mm_token_type_ids": (tokenized["input_ids"] == image_token).int(),
            **vision,
        }
        sizes = [(image.shape[1], image.shape[0]) for image in images.values()]
        resized = [sizes[row[-1]] for row in image_indices]
        of_tracks = all(each.of_track for each in questions)
        return Encoded(BatchFeature(inputs), image_indices, resized, list(images), of_tracks)

    def to_image(self, question: Question, numbers: Box, resized: Size) -> Box | None:
        """The numbers of an answer as a box in pixels of the question's image, clipped to it.

        `resized` is the size of the search image that the model received. None where nothing of the box is
        left (`to_frame`).
        """
        size, last_box = (question.image.shape[1], question.image.shape[0]), question.visual_prompt_xyxy
        if last_box is None or not self.form(question).is_cropped:
            return to_frame(self.contract, numbers, resized, size, question.original)
        # The numbers count pixels of the crop: first as a box in the crop, then in the frame.
        in_crop = to_frame(self.contract, numbers, resized, resized)
        if in_crop is None:
            return None
        square = Square.around(last_box, self.contract.search_crop)
        box = clamp(square.to_frame(in_crop, resized), size)
        return box if is_inside(box, size) else None

    def draft_numbers(self, question: Question, resized: Size) -> str | None:
        """The numbers of the question's draft as an answer with that box has them; the inverse of `to_image`.

        None without a draft, and where it lies outside of the image that the model receives.
        """
        draft, last_box = question.draft_xyxy, question.visual_prompt_xyxy
        if draft is None:
            return None
        # 1. The size of the image whose pixels the draft counts: that of the frame, or of the search crop.
        size, original = (question.image.shape[1], question.image.shape[0]), question.original
        if last_box is not None and self.form(question).is_cropped:
            draft = Square.around(last_box, self.contract.search_crop).from_frame(draft, resized)
            size, original = resized, None
        if not is_inside(draft, size):
            return None
        # 2. The unit of the answer, rounded as in training.
        counted = counted_size(self.contract.coordinates, resized, original or size)
        return box_text(self.contract, round_box(rescale(clamp(draft, size), size, counted), counted))

    def images(self, question: Question) -> list[np.ndarray]:
        """The resized images of a question: the template, if there is one, and the search image
        with its prompt.
        """
        return [render() for _, render in self._parts(question)]

    def chat(self, question: Question) -> list[dict[str, Any]]:
        """The chat of a question, with placeholders for its images (`data_prep.contract.chat.messages`)."""
        return messages(
            self.contract,
            question.expression,
            question.template is not None,
            question.marked,
            template_box=self._template_box(question),
        )

    def prompt_tokens(self, question: Question, sizes: Sequence[Size]) -> int:
        """The number of tokens of a question with images of these sizes (width, height)."""
        side = self.contract.side_multiple
        text = self._chat(question, [width // side * (height // side) for width, height in sizes])
        return len(self.processor.tokenizer(text).input_ids)

    def _images(self, questions: Sequence[Question]) -> tuple[dict[ImageKey, np.ndarray], list[list[int]]]:
        """The distinct images of a batch by their keys, and the indices of each question's images.

        Search frames are compared by identity: the engine asks several questions about one array.
        """
        # `questions` holds the arrays during this call, so no two of them have the same `id`.
        images: dict[ImageKey, np.ndarray] = {}
        indices: dict[ImageKey, int] = {}
        image_indices = []
        for question in questions:
            parts = self._parts(question)
            for key, render in parts:
                if key not in images:
                    indices[key] = len(images)
                    images[key] = render()
            image_indices.append([indices[key] for key, _ in parts])
        return images, image_indices

    def _chat(self, question: Question, image_tokens: Sequence[int]) -> str:
        """The text of a question, with as many placeholders of an image as the image has tokens."""
        try:
            self.check_expression(question.expression)
        except UserError as fault:  # the caller asks many questions: the message names the one that is wrong
            shown = shortened(question.expression, MAX_IN_MESSAGE)
            raise UserError(f"prompt {shown!r}: {fault}") from None
        text = render_chat(self.processor, self.chat(question), is_thinking(self.contract))
        placeholder = self.processor.image_token
        # The template writes one placeholder for each image: n images divide the text into n + 1 parts.
        parts = text.split(placeholder)
        filled = (part + placeholder * count for part, count in zip(parts, image_tokens, strict=False))
        return "".join(filled) + parts[-1]

    def _parts(self, question: Question) -> list[tuple[ImageKey, Callable[[], np.ndarray]]]:
        """The key and a render function of the template, if it is shown, and of the search image."""
        form, last_box = self.form(question), question.visual_prompt_xyxy
        # The key has the box too: a visual prompt or a crop makes another image of the same frame.
        kind = "crop" if form.is_cropped else "search"
        search = (
            (kind, id(question.image), last_box if form.is_marked else None),
            lambda: self._search(question),
        )
        template = question.template
        if template is None or not form.has_template:
            return [search]
        resized = partial(resized_template, self.contract, template, _smart_resize)
        # By its pixels in questions of a track: it is compared with the templates of earlier calls too.
        key = _pixel_hash(template) if question.of_track else id(template)
        return [(("template", key, None), resized), search]

    def _search(self, question: Question) -> np.ndarray:
        """The resized search image: with a visual prompt around the last box, or a crop around it."""
        form, last_box = self.form(question), question.visual_prompt_xyxy
        if form.is_cropped and last_box is not None:
            return search_crop(question.image, last_box, self.contract)
        size = (question.image.shape[1], question.image.shape[0])
        # The rectangle is computed in the original frame, so its margin does not depend on the resizing.
        rectangle = None
        if form.is_marked and last_box is not None:
            rectangle = visual_prompt_box(last_box, size, self.contract)
        return search_image(question.image, rectangle, self.contract, self.resized_size(size))

    def _template_box(self, question: Question) -> Box:
        """The target's box in pixels of the resized template; zeros without a template."""
        template = question.template
        if template is None:
            return 0, 0, 0, 0
        size = (template.shape[1], template.shape[0])
        box = question.template_box_xyxy or central_box(size, self.contract)
        return resized_box(box, size, template_size(self.contract, size, _smart_resize))


def _smart_resize(size: Size, min_pixels: float, max_pixels: float, multiple: int) -> Size:
    """`smart_resize` of Qwen's own package, with sizes as (width, height)."""
    # It is annotated for whole numbers of pixels, but accepts any.
    limits: dict[str, Any] = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    height, width = smart_resize(size[1], size[0], factor=multiple, **limits)
    return width, height


def _pixel_hash(image: np.ndarray) -> bytes:
    """A hash of an array's shape and pixels."""
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()
