"""The published loop of `python -m benchmarks inference`: what VPTracker's inference script does, for any
contract, with the plain classes of transformers.

One track is followed at a time. For each of its frames the frame is read, the search image and the template
are prepared by the checkpoint's contract, and the model generates its whole answer (`generate`, greedy, one
question). The box of the answer becomes a mask by `Sam2Model`. Where the answer says that the target is not
visible, the last box is segmented again (https://github.com/jcwang0602/VPTracker).

Only functions that define the contract are shared with this project: the text of a question, the crops and
sizes of images, and the unit of coordinates. Batching, forced answers, fast kernels and shared features are
not used here. Nothing is slowed down on purpose.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LogitsProcessor,
    LogitsProcessorList,
    Sam2Model,
    Sam2Processor,
)

from benchmarks.inference_parts import PartClock
from data_prep.contract.chat import messages, to_frame
from data_prep.contract.contract import Contract
from data_prep.contract.crops import crop_template
from data_prep.contract.formats import AnswerFormat
from data_prep.contract.images import resized_template, search_image, search_size, visual_prompt_box
from data_prep.geometry import Box, Size, clamp, is_inside

MAX_NEW_TOKENS = 64
MAX_BOX_TOKENS = 32  # four numbers with separators; a model with random weights never closes a box


@dataclass(frozen=True)
class PublishedFrame:
    """The result of one frame: the whole text of the answer with its tokens, and the mask (None: absent)."""

    text: str
    tokens: tuple[int, ...]
    mask: np.ndarray | None


class PublishedLoop:
    """VPTracker's loop. `grounder` and `mask_head` are the folders of the weights.

    `answer` returns what the model is forced to answer about a frame, after the fixed start; None: it answers
    freely in the format of the contract.
    """

    def __init__(
        self,
        grounder: str,
        mask_head: str,
        contract: Contract,
        device: torch.device,
        dtype: torch.dtype,
        answer: Callable[[np.ndarray], str] | None = None,
    ) -> None:
        processor: Any = AutoProcessor.from_pretrained(grounder)
        model: Any = AutoModelForImageTextToText.from_pretrained(grounder, dtype=dtype)
        self.model, self.processor = model.to(device).eval(), processor
        masking: Any = Sam2Model.from_pretrained(mask_head, dtype=dtype)
        self.mask_model = masking.to(device).eval()
        self.mask_processor: Any = Sam2Processor.from_pretrained(mask_head)
        self.contract, self.device, self.dtype, self.answer = contract, device, dtype, answer
        self.grammar = AnswerGrammar(contract.format, processor.tokenizer)

    def track(
        self, frames: Iterable[np.ndarray], expression: str, clock: PartClock
    ) -> Iterator[PublishedFrame]:
        """Follow one target through the frames, and yield the result of each."""
        last_box, template = None, None
        for frame in clock.reading(frames):
            # 1. Ask where the target is, with the template and the rectangle around its last place.
            text, tokens, resized = self._ask(frame, expression, template, last_box, clock)
            box = self._parse(text, resized, (frame.shape[1], frame.shape[0]))
            # 2. The last box is kept where the target is not visible or the answer cannot be read.
            last_box = box or last_box
            mask = None
            if last_box is not None:
                if template is None:
                    template = crop_template(frame, last_box, self.contract)
                # 3. The mask of the box.
                with clock.part("mask head"):
                    mask = self._segment(frame, last_box)
            yield PublishedFrame(text, tokens, mask)

    def _ask(
        self,
        frame: np.ndarray,
        expression: str,
        template: np.ndarray | None,
        last_box: Box | None,
        clock: PartClock,
    ) -> tuple[str, tuple[int, ...], Size]:
        """The answer as text and tokens, without the end of the turn, and the size of the search image."""
        with clock.part("preprocess"):
            # 1. The images, and the text of the question.
            contract, size = self.contract, (frame.shape[1], frame.shape[0])
            resized = search_size(contract, size)
            rectangle = None if last_box is None else visual_prompt_box(last_box, size, contract)
            images = [search_image(frame, rectangle, contract, resized)]
            if template is not None:
                images.insert(0, resized_template(contract, template))
            chat = messages(contract, expression, template is not None, last_box is not None)
            prompt = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            # 2. The images have their final sizes already.
            inputs = self.processor(text=[prompt], images=images, return_tensors="pt", do_resize=False)
            inputs = inputs.to(self.device)
            length = inputs["input_ids"].shape[1]
            self.grammar.begin(length, None if self.answer is None else self.answer(frame))
        # 3. The whole answer, token by token.
        with clock.part("decode"), torch.inference_mode():
            output = self.model.generate(
                **inputs,
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
                logits_processor=LogitsProcessorList([self.grammar]),
            )
            tokens = tuple(output[0, length:].tolist())
        if tokens and tokens[-1] == self.grammar.end:
            tokens = tokens[:-1]
        return self.processor.tokenizer.decode(tokens), tokens, resized

    def _parse(self, text: str, resized: Size, size: Size) -> Box | None:
        """The box of an answer in pixels of the frame; None where there is none."""
        answer_format = self.contract.format
        if not text.startswith(answer_format.start + answer_format.visible):
            return None
        inside = re.search(r"\[([^\[\]]*)\]", text)
        numbers = [] if inside is None else re.findall(r"-?\d+(?:\.\d+)?", inside.group(1))
        if len(numbers) != 4:
            return None
        left, top, right, bottom = (float(number) for number in numbers)
        box = to_frame(self.contract, (left, top, right, bottom), resized, size)
        return clamp(box, size) if box is not None and is_inside(box, size) else None

    @torch.inference_mode()
    def _segment(self, frame: np.ndarray, box_xyxy: Box) -> np.ndarray | None:
        """The mask in a box, bool (height, width); None where the object score says that there is none."""
        inputs = self.mask_processor(images=frame, input_boxes=[[list(box_xyxy)]], return_tensors="pt")
        inputs = inputs.to(self.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self.dtype)
        output = self.mask_model(**inputs, multimask_output=False)
        if float(output.object_score_logits.flatten()[0]) <= 0:
            return None
        masks = self.mask_processor.post_process_masks(output.pred_masks, inputs["original_sizes"])
        mask: np.ndarray = masks[0][0, 0].cpu().numpy()
        return mask if mask.any() else None


class AnswerGrammar(LogitsProcessor):
    """Restricts `generate` to the format of the contract, for models that were not trained to write it.

    A published checkpoint writes the fixed parts of its answers by itself. The small grounder was trained on
    the decision and the numbers only, so the other tokens are forced here. Each of them is generated all the
    same, one forward pass for each, as by a published checkpoint. The decision and the numbers are free.
    """

    def __init__(self, answer_format: AnswerFormat, tokenizer: Any) -> None:
        def ids_of(text: str) -> list[int]:
            ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
            return ids

        self.format, self.tokenizer, self.ids_of = answer_format, tokenizer, ids_of
        self.end: int = tokenizer.eos_token_id
        self.start = ids_of(answer_format.start)
        self.decisions = [ids_of(text)[0] for text in (answer_format.visible, answer_format.absent)]
        self.box_start = ids_of(answer_format.box_start)
        self.prompt_length, self.forced = 0, list[int]()

    def begin(self, prompt_length: int, answer: str | None = None) -> None:
        """A new answer begins behind a prompt of so many tokens. `answer` is the only one that is allowed."""
        self.prompt_length = prompt_length
        self.forced = [] if answer is None else [*self.start, *self.ids_of(answer)]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Set the scores (1, vocabulary) of all tokens that are not allowed next to minus infinity."""
        allowed = self.allowed(input_ids[0, self.prompt_length :].tolist())
        if allowed is None:
            return scores
        kept: Any = torch.full_like(scores, -torch.inf)
        kept[:, allowed] = scores[:, allowed]
        return kept

    def allowed(self, written: Sequence[int]) -> list[int] | None:
        """The tokens that may follow those of the answer so far; None: all of them."""
        if self.forced:
            return self._fixed(self.forced, written)
        # 1. The start, and the decision. A format without a decision goes on with the box.
        if len(written) < len(self.start):
            return [self.start[len(written)]]
        rest = written[len(self.start) :]
        if self.format.has_decision:
            if not rest:
                return self.decisions
            if rest[0] == self.decisions[1]:
                return self._fixed(self.ids_of(self.format.absent_end), rest[1:])
            rest = rest[1:]
        # 2. The begin of a box, then its numbers up to a token with the closing character.
        if len(rest) < len(self.box_start):
            return [self.box_start[len(rest)]]
        numbers = rest[len(self.box_start) :]
        texts = [self.tokenizer.decode([token]) for token in numbers]
        closed = next((index for index, text in enumerate(texts) if self.format.closing in text), None)
        if closed is None:
            return None if len(numbers) < MAX_BOX_TOKENS else [self.end]
        # 3. What is left of the end of the answer. The closing token may contain more than the bracket.
        end = self.format.box_end.removeprefix(texts[closed])
        return self._fixed(self.ids_of(end) if end else [], numbers[closed + 1 :])

    def _fixed(self, tokens: list[int], written: Sequence[int]) -> list[int]:
        """The next of a fixed sequence of tokens, which the end of the turn follows."""
        return [[*tokens, self.end][min(len(written), len(tokens))]]
