"""The grounder: where is this target in this image?

One forward pass reads the question with `ANSWER_START` and the forced beginning of a box behind it;
the token that decides true or false gives the visible probability, and the numbers of the box are
then decoded greedily, all questions of a batch together.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoProcessor, BitsAndBytesConfig
from transformers.cache_utils import DynamicCache
from transformers.utils import logging as transformers_logging

from configs.errors import UserError
from data_prep.geometry import Box, Size
from data_prep.prompts import (
    ABSENT,
    BOX_START,
    BUILT_IN,
    VISIBLE,
    Contract,
    parse_box,
    read_contract,
    to_frame,
)
from models.adapters import merged
from models.checkpoint import (
    LOAD_FAULTS,
    check_checkpoint,
    check_model_type,
    check_weights,
    choose_dtype,
    not_fetched,
)
from models.checkpoint_files import base_of
from models.config import GrounderConfig
from models.families import FAMILIES, QwenVL, QwenVLProcessor, family_of, published_contract
from models.questions import Question, QuestionEncoder
from models.reading import read
from models.tokens import digit_tokens, widen

KEY = "model.checkpoint"
MAX_BOX_TOKENS = 32  # four numbers of up to five digits, separators and the bracket
Decoded = tuple[str, torch.Tensor]  # the text of a box's numbers, the log-probabilities of their digits


@dataclass(frozen=True)
class Answer:
    """What the grounder says of one question.

    `visible` is the probability that the target is in the image. `box_xyxy` is in pixels of the
    question's image; None where none could be read, or where `visible` is so low that none was decoded.
    `box_confidence` is the geometric mean probability of the box's digits, `text` what was decoded.
    """

    visible: float
    box_xyxy: Box | None
    box_confidence: float
    text: str


class Grounder:
    """A Qwen-VL model with its processor and its contract.

    `without_gradients` is `torch.no_grad` where weights that come and go while it works also learn: what
    inference mode makes is of no use to learning.
    """

    without_gradients: Callable[[], AbstractContextManager[None]] = torch.inference_mode

    def goes_on(self, open_rows: torch.Tensor) -> bool:
        """Whether a box of a batch (batch,) is still open, so that another token is decoded.

        Where processes work on every token together they must agree on it: to be replaced there.
        """
        return bool(open_rows.any())

    def __init__(
        self,
        model: QwenVL,
        processor: QwenVLProcessor,
        contract: Contract,
        batch: int = 8,
        box_floor: float = 0.0,
    ) -> None:
        self.model = model.eval()
        family_of(model).quicken(model.model.visual)
        self.tokenizer = processor.tokenizer
        self.encoder = QuestionEncoder(processor, contract)
        self.contract = contract
        self.batch, self.box_floor = batch, box_floor
        self._true, self._false = self._single(VISIBLE), self._single(ABSENT)
        self._forced_length = len(self.tokenizer(VISIBLE + BOX_START, add_special_tokens=False).input_ids)
        self._digits = torch.tensor(digit_tokens(self.tokenizer), device=model.device)
        tokens = self.tokenizer.convert_ids_to_tokens(range(len(self.tokenizer)))
        closing = [index for index, token in enumerate(tokens) if "]" in token]
        self._closing = torch.tensor(closing, device=model.device)

    @classmethod
    def load(
        cls, config: GrounderConfig, device: torch.device, quantization: BitsAndBytesConfig | None = None
    ) -> "Grounder":
        """Load weights, processor and contract; adapters are added to the weights that they belong to.

        With `quantization` weights are held in fewer bits (models/quantized.py), for training adapters.

        Raises UserError where the checkpoint is missing, is not whole, is of another model, or has no
        contract, or one of another family, and none that fits is named.
        """
        base = base_of(KEY, config.checkpoint)
        weights = base or config.checkpoint
        check_checkpoint(KEY, weights, tuple(FAMILIES))
        transformers_logging.disable_progress_bar()
        dtype = choose_dtype(config.dtype, device)
        held: dict[str, Any] = {}
        if quantization is not None:
            held = {"quantization_config": quantization, "device_map": {"": device}}
        try:
            model_type = AutoConfig.from_pretrained(weights).model_type
            check_model_type(KEY, weights, model_type, tuple(FAMILIES))  # what the hub holds
            loaded: Any = FAMILIES[model_type].model.from_pretrained(
                weights, dtype=dtype, use_safetensors=True, output_loading_info=True, **held
            )
            processor = AutoProcessor.from_pretrained(config.checkpoint)
        except LOAD_FAULTS as fault:
            raise not_fetched(KEY, config.checkpoint, fault) from None
        model, report = loaded
        check_weights(KEY, weights, report)
        if base is not None:
            widen(model, processor)
            model = _with_adapters(model, config.checkpoint)
        if not processor.chat_template:
            raise UserError(f"{KEY}={config.checkpoint}: has no chat template; restore chat_template.jinja")
        if quantization is None:
            model.to(device)
        return cls(model, processor, find_contract(config), config.batch, config.box_floor)

    def _single(self, text: str) -> int:
        """The one token that a decision is read from."""
        tokens = self.tokenizer(text, add_special_tokens=False).input_ids
        if len(tokens) != 1:
            raise UserError(f"{KEY}: its tokenizer splits {text!r}, so no decision can be read from it")
        return tokens[0]

    def check_words(self, words: str) -> None:
        """Raise UserError for words that no question may hold."""
        self.encoder.check_words(words)

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions, at most `batch` at a time, in order."""
        answers: list[Answer] = []
        for start in range(0, len(questions), self.batch):
            with self.without_gradients():
                answers += self._locate_batch(questions[start : start + self.batch])
        return answers

    def _locate_batch(self, questions: Sequence[Question]) -> list[Answer]:
        encoded = self.encoder.encode(questions, VISIBLE + BOX_START)
        encoded = encoded.to(self.model.device)
        inputs = encoded.inputs
        cache = DynamicCache(config=self.model.config.get_text_config())
        kept = self._forced_length + 1
        output = read(self.model, encoded, past_key_values=cache, use_cache=True, logits_to_keep=kept)
        decision = output.logits[:, 0, [self._true, self._false]].float().softmax(-1)[:, 0]
        asked = (decision >= self.box_floor).nonzero()[:, 0]
        boxes: dict[int, Decoded] = {}
        if len(asked):
            cache.batch_select_indices(asked)
            deltas = self.model.model.rope_deltas[asked]
            rows = self._decode(output.logits[asked, -1], inputs["attention_mask"][asked], deltas, cache)
            boxes = dict(zip(asked.tolist(), rows, strict=True))
        return [
            self._answer(question, resized, float(visible), boxes.get(row))
            for row, (question, resized, visible) in enumerate(
                zip(questions, encoded.resized, decision, strict=True)
            )
        ]

    def _decode(
        self, logits: torch.Tensor, mask: torch.Tensor, deltas: torch.Tensor, cache: DynamicCache
    ) -> list[Decoded]:
        """Decode greedily until every row closed its box; what each row holds before that.

        `logits` (batch, vocabulary) are those of the first number's first token, `mask` (batch, length)
        and `deltas` (batch, 1) the attention mask and position offsets of what is in the cache.
        """
        tokens, scores = [], []
        closing = self._closing.to(logits.device)  # a model that is trained may have moved
        open_rows = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        for _ in range(MAX_BOX_TOKENS):
            best = logits.float().log_softmax(-1).max(-1)
            tokens.append(best.indices)
            scores.append(best.values)
            open_rows &= ~torch.isin(best.indices, closing)
            if not self.goes_on(open_rows):
                break
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            logits = self.model(
                input_ids=best.indices[:, None],
                attention_mask=mask,
                position_ids=(mask.sum(1, keepdim=True) - 1 + deltas).expand(3, -1, -1),
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
        return [
            self._before_closing(*row)
            for row in zip(torch.stack(tokens, dim=1), torch.stack(scores, dim=1), strict=True)
        ]

    def _before_closing(self, tokens: torch.Tensor, scores: torch.Tensor) -> Decoded:
        """A row's numbers as text, and the log-probabilities of their digits."""
        closed = torch.isin(tokens, self._closing.to(tokens.device)).nonzero()
        length = int(closed[0, 0]) if len(closed) else len(tokens)
        are_digits = torch.isin(tokens[:length], self._digits.to(tokens.device))
        return self.tokenizer.decode(tokens[:length]), scores[:length][are_digits]

    def _answer(self, question: Question, resized: Size, visible: float, box: Decoded | None) -> Answer:
        """One decoded row as an answer in pixels of the question's image."""
        if box is None:
            return Answer(visible, None, 0.0, "")
        numbers, digit_scores = box
        parsed = parse_box(numbers)
        frame_size = (question.image.shape[1], question.image.shape[0])
        box_xyxy = to_frame(self.contract, parsed, resized, frame_size) if parsed else None
        confidence = float(digit_scores.mean().exp()) if len(digit_scores) else 0.0
        return Answer(visible, box_xyxy, confidence, numbers)


def _with_adapters(model: QwenVL, checkpoint: str) -> QwenVL:
    try:
        return merged(model, checkpoint)
    except LOAD_FAULTS as fault:
        raise not_fetched(KEY, checkpoint, fault) from None


def find_contract(config: GrounderConfig) -> Contract:
    """The contract a checkpoint carries, or the built-in one that `model.contract` names.

    Raises UserError where there is neither, where the name is unknown, or where the two disagree.
    """
    carried = read_contract(Path(config.checkpoint))
    if config.contract == "auto":
        if carried is not None:
            return carried
        if name := published_contract(config.checkpoint):
            return BUILT_IN[name]
        raise UserError(
            f"{KEY}={config.checkpoint}: carries no contract.json; say how it was trained "
            f"with model.contract={'|'.join(BUILT_IN)}"
        )
    if config.contract not in BUILT_IN:
        raise UserError(f"model.contract={config.contract}: choose one of auto, {', '.join(BUILT_IN)}")
    named = BUILT_IN[config.contract]
    if carried is not None and carried != named:
        differing = [name for name in vars(named) if getattr(named, name) != getattr(carried, name)]
        raise UserError(
            f"model.contract={config.contract}: differs from {config.checkpoint}/contract.json in "
            f"{', '.join(differing)}; leave model.contract out"
        )
    return named
