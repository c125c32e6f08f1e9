"""The grounder: a multimodal LLM that finds the target of an expression in an image.

A forward pass reads the question with the beginning of an answer that holds a box. The probability that the
target is visible is read from the logits of the token that decides it, before the forced text. The numbers of
the box are then decoded greedily, for all questions of a batch together.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from transformers import BitsAndBytesConfig
from transformers.cache_utils import DynamicCache

from configs.errors import UserError
from data_prep.contract.chat import to_frame
from data_prep.contract.contract import Contract
from data_prep.geometry import Size
from models.checkpoint import (
    SAFE,
    check_finite,
    check_tied,
    check_weights,
    choose_dtype,
    loading,
    model_type_of,
)
from models.checkpoint_files import (
    GROUNDER_KEY,
    base_of,
    check_grounder_checkpoint,
    find_contract,
    key_of,
    processor_folder,
)
from models.config import GrounderConfig
from models.families import FAMILIES
from models.grounder.adapters import merged
from models.grounder.chat_template import check_chat_template
from models.grounder.forward import forward
from models.grounder.model import QwenVL, QwenVLProcessor, apply_fast_kernels, digit_tokens, widen
from models.grounder.questions import QuestionEncoder
from models.identity import checkpoint_identity
from models.interfaces import Answer, Identity, Question

KEY = GROUNDER_KEY
MAX_BOX_TOKENS = 32  # four numbers of up to five digits, separators and the bracket
Decoded = tuple[str, torch.Tensor]  # the text of a box's numbers, the log-probabilities of their digits


class Grounder:
    """A Qwen-VL model with its processor and its contract; implements `models.interfaces.Grounding`.

    The model is used as it is: `load` puts it into evaluation mode with fast kernels, and so must whoever
    makes a `Grounder` of another model.
    """

    def __init__(
        self,
        model: QwenVL,
        processor: QwenVLProcessor,
        contract: Contract,
        batch: int = 8,
        box_floor: float = 0.0,
        checkpoint: str | None = None,
        any_process: Callable[[torch.Tensor], bool] | None = None,
    ) -> None:
        """At most `batch` questions are answered at a time; no box is decoded below the visible probability
        `box_floor`; `checkpoint` is the name of the weights in messages.

        `any_process` is given where the weights are sharded over processes, which then decode together. It
        tells whether a flag (a bool tensor of one element) is set on any of them. One that stopped alone
        would leave the others waiting. Weights that are gathered while it works also learn, so it works under
        `torch.no_grad`: tensors made under `torch.inference_mode` cannot be used for learning.
        """
        self.model = model
        self.checkpoint = checkpoint or model.name_or_path or ""
        self.tokenizer = processor.tokenizer
        self.encoder = QuestionEncoder(processor, contract)
        self.contract = contract
        self.batch, self.box_floor = batch, box_floor
        self._any_process = any_process
        answers = contract.format
        self._visible, self._absent = self._single(answers.visible), self._single(answers.absent)
        self._forced_length = len(self.tokenizer(answers.forced_prefix, add_special_tokens=False).input_ids)
        self._digits = torch.tensor(digit_tokens(self.tokenizer), device=model.device)
        tokens = self.tokenizer.convert_ids_to_tokens(range(len(self.tokenizer)))
        closing = [index for index, token in enumerate(tokens) if answers.closing in token]
        self._closing = torch.tensor(closing, device=model.device)

    @classmethod
    def load(
        cls, config: GrounderConfig, device: torch.device, quantization: BitsAndBytesConfig | None = None
    ) -> "Grounder":
        """Load weights, processor and contract, for inference; adapters are merged into their base.

        With `quantization` the weights are quantized (`models.checkpoint.four_bit`), to train adapters on
        them.

        Raises UserError where the checkpoint is missing, incomplete, of another kind of model, or has no
        contract, or one of another family, and none that fits is named.
        """
        # 1. What can be refused from the files alone, before weights are read.
        check_grounder_checkpoint(config)
        base = base_of(KEY, config.checkpoint)
        weights, types = base or config.checkpoint, tuple(FAMILIES)
        held: dict[str, Any] = {"dtype": choose_dtype(config.dtype, device)}
        if quantization is not None:
            held |= {"quantization_config": quantization, "device_map": {"": device}}
        # 2. The weights, by the class of their family.
        with loading(KEY, config.checkpoint, base):
            family = FAMILIES[model_type_of(key_of(config.checkpoint, base), weights, types)]
            model_class = family.model_class()
            loaded: Any = model_class.from_pretrained(weights, output_loading_info=True, **SAFE, **held)
        # 3. The processor, and the adapters. Tokens that were added in training need rows of the embeddings
        #    before adapters fit.
        with loading(KEY, config.checkpoint):
            source = processor_folder(config.checkpoint, base)
            processor = family.processor_class().from_pretrained(source, trust_remote_code=False)
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
        model.eval()
        apply_fast_kernels(model)
        return cls(model, processor, contract, config.batch, config.box_floor, config.checkpoint)

    def _single(self, text: str) -> int:
        """The one token that a decision is read from."""
        tokens = self.tokenizer(text, add_special_tokens=False).input_ids
        if len(tokens) != 1:
            raise UserError(f"{KEY}: its tokenizer splits {text!r}, so no decision can be read from it")
        return tokens[0]

    def check_expression(self, expression: str) -> None:
        """Raise UserError for an expression that no question may hold."""
        self.encoder.check_expression(expression)

    def identity(self) -> Identity:
        """What the answers follow from: the weights (`checkpoint`), `dtype` and `box_floor`."""
        commit = getattr(self.model.config, "_commit_hash", None)
        return {
            "checkpoint": checkpoint_identity(self.checkpoint, commit),
            "dtype": str(self.model.dtype),
            "box_floor": self.box_floor,
        }

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions, at most `batch` at a time, in order.

        Raises NotFiniteError where the model returns NaN or infinity.
        """
        answers: list[Answer] = []
        for start in range(0, len(questions), self.batch):
            with torch.inference_mode() if self._any_process is None else torch.no_grad():
                answers += self._locate_batch(questions[start : start + self.batch])
        return answers

    def _locate_batch(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers to one batch, by one forward pass and the decoding of boxes."""
        # 1. Read the questions with the forced beginning of an answer: " true", then the start of a box. Only
        #    the last logits are computed: (batch, forced length + 1, vocabulary).
        encoded = self.encoder.encode(questions, self.contract.format.forced_prefix)
        encoded = encoded.to(self.model.device)
        inputs = encoded.inputs
        cache = DynamicCache(config=self.model.config.get_text_config())
        kept = self._forced_length + 1
        output = forward(self.model, encoded, past_key_values=cache, use_cache=True, logits_to_keep=kept)
        # 2. The first of them precede the forced text: there the model decides between true and false
        #    (batch,).
        decision = output.logits[:, 0, [self._visible, self._absent]].float().softmax(-1)[:, 0]
        visible: list[float] = decision.tolist()
        self._check("visible probability", visible)
        # 3. Decode boxes for the rows that are visible enough; the others leave the cache, to save time.
        rows_asked = [row for row, probability in enumerate(visible) if probability >= self.box_floor]
        boxes: dict[int, Decoded] = {}
        if rows_asked:
            asked = torch.tensor(rows_asked, device=decision.device)
            cache.batch_select_indices(asked)
            deltas = self.model.model.rope_deltas[asked]
            rows = self._decode(output.logits[asked, -1], inputs["attention_mask"][asked], deltas, cache)
            boxes = dict(zip(rows_asked, rows, strict=True))
        # 4. Convert numbers to boxes in pixels of each question's image.
        return [
            self._answer(question, resized, probability, boxes.get(row))
            for row, (question, resized, probability) in enumerate(
                zip(questions, encoded.resized, visible, strict=True)
            )
        ]

    def _check(self, what: str, values: Iterable[float]) -> None:
        """Raise NotFiniteError for NaN and infinity."""
        check_finite(KEY, self.checkpoint, self.model.dtype, what, values)

    def _decode(
        self, logits: torch.Tensor, mask: torch.Tensor, deltas: torch.Tensor, cache: DynamicCache
    ) -> list[Decoded]:
        """Decode greedily until every row has closed its box; returns what each row holds before that.

        `logits` (batch, vocabulary) are those of the first number's first token. `mask` (batch, length) and
        `deltas` (batch, 1) are the attention mask and the position offsets of what is in the cache.
        """
        tokens, scores = [], []  # (batch,) for each step
        closing = self._closing.to(logits.device)  # training may have moved the model since
        open_rows = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        for _ in range(MAX_BOX_TOKENS):
            # 1. The best token of each row. Rows that are closed decode on; what they say is dropped below.
            best = logits.float().log_softmax(-1).max(-1)
            tokens.append(best.indices)
            scores.append(best.values)
            open_rows &= ~torch.isin(best.indices, closing)
            if not self._is_any_open(open_rows):
                break
            # 2. The next logits. An image takes fewer positions than tokens, hence the offsets; the position
            #    of text is the same on all three axes: (3, batch, 1).
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            logits = self.model(
                input_ids=best.indices[:, None],
                attention_mask=mask,
                position_ids=(mask.sum(1, keepdim=True) - 1 + deltas).expand(3, -1, -1),
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
        # 3. Check the scores of all tokens and not of digits alone: where a score is NaN the token means
        #    nothing.
        all_scores = torch.stack(scores, dim=1)  # (batch, steps)
        self._check("score of a box", [float(all_scores.sum())])
        return [
            self._before_closing(*row) for row in zip(torch.stack(tokens, dim=1), all_scores, strict=True)
        ]

    def _is_any_open(self, open_rows: torch.Tensor) -> bool:
        """Whether a box of the batch, or of another process that decodes along, is still open."""
        is_open = open_rows.any()
        return bool(is_open) if self._any_process is None else self._any_process(is_open)

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
        parsed = self.contract.format.parse(numbers)
        frame_size = (question.image.shape[1], question.image.shape[0])
        box_xyxy = to_frame(self.contract, parsed, resized, frame_size) if parsed else None
        confidence = float(digit_scores.mean().exp()) if len(digit_scores) else 0.0
        return Answer(visible, box_xyxy, confidence, numbers)
