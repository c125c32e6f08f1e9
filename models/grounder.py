"""The grounder: where is this target in this image?

One forward pass reads the question with `ANSWER_START` and the forced beginning of a box behind it;
the token that decides true or false gives the visible probability, and the numbers of the box are
then decoded greedily, all questions of a batch together.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import BitsAndBytesConfig
from transformers.cache_utils import DynamicCache

from configs.errors import UserError
from data_prep.geometry import Box, Size
from data_prep.prompts import ABSENT, BOX_START, VISIBLE, Contract, parse_box, to_frame
from models.adapters import merged
from models.chat_template import check_chat_template
from models.checkpoint import SAFE, check_tied, check_weights, choose_dtype, loading, model_type_of
from models.checkpoint_files import (
    GROUNDER_KEY,
    base_of,
    check_grounder_checkpoint,
    find_contract,
    key_of,
    processor_folder,
)
from models.config import GrounderConfig
from models.families import FAMILIES, QwenVL, QwenVLProcessor, family_of
from models.finite import check_finite
from models.questions import Question, QuestionEncoder
from models.reading import read
from models.tokens import digit_tokens, widen

KEY = GROUNDER_KEY
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
        checkpoint: str | None = None,
    ) -> None:
        self.model = model.eval()
        self.checkpoint = checkpoint or model.name_or_path or ""  # its name, for messages
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
        check_grounder_checkpoint(config)
        base = base_of(KEY, config.checkpoint)
        weights, types = base or config.checkpoint, tuple(FAMILIES)
        held: dict[str, Any] = {"dtype": choose_dtype(config.dtype, device)}
        if quantization is not None:
            held |= {"quantization_config": quantization, "device_map": {"": device}}
        with loading(KEY, config.checkpoint, base):
            family = FAMILIES[model_type_of(key_of(config.checkpoint, base), weights, types)]
            loaded: Any = family.model.from_pretrained(weights, output_loading_info=True, **SAFE, **held)
        with loading(KEY, config.checkpoint):
            source = processor_folder(config.checkpoint, base)
            processor = family.processor.from_pretrained(source, trust_remote_code=False)
            model, report = loaded
            check_weights(key_of(config.checkpoint, base), weights, report)
            check_tied(key_of(config.checkpoint, base), weights, model)
            if base is not None:
                widen(model, processor)
                model = merged(model, config.checkpoint)
        contract = find_contract(config)
        check_chat_template(KEY, source, processor, contract)
        if quantization is None:
            model.to(device)
        return cls(model, processor, contract, config.batch, config.box_floor, config.checkpoint)

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
        visible: list[float] = decision.tolist()
        self._check("visible probability", visible)
        rows_asked = [row for row, probability in enumerate(visible) if probability >= self.box_floor]
        boxes: dict[int, Decoded] = {}
        if rows_asked:
            asked = torch.tensor(rows_asked, device=decision.device)
            cache.batch_select_indices(asked)
            deltas = self.model.model.rope_deltas[asked]
            rows = self._decode(output.logits[asked, -1], inputs["attention_mask"][asked], deltas, cache)
            boxes = dict(zip(rows_asked, rows, strict=True))
        return [
            self._answer(question, resized, probability, boxes.get(row))
            for row, (question, resized, probability) in enumerate(
                zip(questions, encoded.resized, visible, strict=True)
            )
        ]

    def _check(self, what: str, values: Iterable[float]) -> None:
        """Raise UserError for a number of an answer that is none."""
        check_finite(KEY, self.checkpoint, self.model.dtype, what, values)

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
        # Of all tokens, not of digits alone: a score that is NaN makes its token mean nothing.
        all_scores = torch.stack(scores, dim=1)
        self._check("score of a box", [float(all_scores.sum())])
        return [
            self._before_closing(*row) for row in zip(torch.stack(tokens, dim=1), all_scores, strict=True)
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
