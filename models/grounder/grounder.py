"""The grounder: a multimodal LLM that finds the target of an expression in an image.

The answer is a short text such as `{"visible": true, "bbox_2d": [12, 34, 56, 78]}`. It is not generated token
by token. One forward pass reads the question together with a *forced prefix*: the begin of an answer that
contains a box. The logits of the token before the prefix give the probability that the target is visible. The
numbers of the box are then decoded greedily, for all questions of a batch together. So an answer takes one
long forward pass, and one short one for each token of the box.
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
from models.checkpoint import check_finite
from models.checkpoint_files import GROUNDER_KEY
from models.config import GrounderConfig
from models.grounder.batching import answer_in_batches
from models.grounder.forward import forward
from models.grounder.loading import load_model, quantization_of
from models.grounder.model import QwenVL, QwenVLProcessor, digit_tokens
from models.grounder.questions import QuestionEncoder
from models.identity import checkpoint_identity
from models.interfaces import Answer, Identity, Question

KEY = GROUNDER_KEY
MAX_BOX_TOKENS = 32  # four numbers of up to five digits, with separators and the closing bracket
Decoded = tuple[str, torch.Tensor]  # the text of a box's numbers, the log-probabilities of their digits


class Grounder:
    """A Qwen-VL model with its processor and its contract; implements `models.interfaces.Grounding`.

    The constructor does not change the model. `load` puts it into evaluation mode and applies the fast
    kernels; code that constructs a `Grounder` of another model must do both if it wants them.
    """

    def __init__(
        self,
        model: QwenVL,
        processor: QwenVLProcessor,
        contract: Contract,
        batch: int = 8,
        box_threshold: float = 0.0,
        checkpoint: str | None = None,
        any_process: Callable[[torch.Tensor], bool] | None = None,
    ) -> None:
        """At most `batch` questions are answered at a time. No box is decoded where the visible probability
        is below `box_threshold`. `checkpoint` is the name of the weights in messages.

        `any_process` is needed where the weights are sharded over processes. It returns whether a flag (a
        bool tensor of one element) is set in any of them. Every forward pass gathers weights from all
        processes, so all of them must decode until the last one is done. In this case decoding runs under
        `torch.no_grad` and not `torch.inference_mode`, because the gathered weights are trained afterwards,
        and tensors made in inference mode cannot be.
        """
        self.model = model
        self.checkpoint = checkpoint or model.name_or_path or ""
        self.tokenizer = processor.tokenizer
        self.encoder = QuestionEncoder(processor, contract)
        self.contract = contract
        self.batch, self.box_threshold = batch, box_threshold
        self._any_process = any_process
        answers = contract.format
        self._visible, self._absent = self._single(answers.visible), self._single(answers.absent)
        self._forced_length = len(self.tokenizer(answers.forced_prefix, add_special_tokens=False).input_ids)
        self._digits = torch.tensor(digit_tokens(self.tokenizer), device=self.device)
        tokens = self.tokenizer.convert_ids_to_tokens(range(len(self.tokenizer)))
        if None in tokens:
            raise UserError(
                f"{KEY}={self.checkpoint}: its tokenizer has no token of id {tokens.index(None)}; restore "
                "tokenizer.json"
            )
        # The bracket may be part of a longer token, such as `]}`, so every token that contains it closes a
        # box.
        closing = [index for index, token in enumerate(tokens) if answers.closing in token]
        self._closing = torch.tensor(closing, device=self.device)

    @classmethod
    def load(
        cls, config: GrounderConfig, device: torch.device, quantization: BitsAndBytesConfig | None = None
    ) -> "Grounder":
        """Load weights, processor and contract for inference; adapters are merged into their base weights.

        With `quantization` the weights are quantized, to train adapters on them.

        Raises UserError as `models.grounder.loading.load_model`, and where the contract is of another family.
        """
        model, processor, contract = load_model(config, device, quantization)
        return cls(model, processor, contract, config.batch, config.box_threshold, config.checkpoint)

    @property
    def device(self) -> torch.device:
        """The device of the embeddings, which questions go to. Later layers may be on other GPUs."""
        embeddings: Any = self.model.get_input_embeddings()
        return torch.device(embeddings.weight.device)

    def _single(self, text: str) -> int:
        """The id of a text that must be a single token, because a decision is read from its logit."""
        tokens = self.tokenizer(text, add_special_tokens=False).input_ids
        if len(tokens) != 1:
            raise UserError(
                f"{KEY}={self.checkpoint}: its tokenizer splits {text!r}, which must be one token; take "
                "another checkpoint, or restore tokenizer.json"
            )
        return tokens[0]

    def check_expression(self, expression: str) -> None:
        """Raise UserError for an expression that cannot be asked for."""
        self.encoder.check_expression(expression)

    def identity(self) -> Identity:
        """What the answers depend on: the weights (`checkpoint`), `dtype`, `quantization` and
        `box_threshold`. Sizes of images are part of `contract`.
        """
        commit = getattr(self.model.config, "_commit_hash", None)
        return {
            "checkpoint": checkpoint_identity(self.checkpoint, commit),
            "dtype": str(self.model.dtype),
            "quantization": quantization_of(self.model),
            "box_threshold": self.box_threshold,
        }

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions, at most `batch` at a time, in order.

        Where memory runs out, `batch` is halved from then on, with a warning. Answers depend on the size of a
        batch by rounding errors only. Raises NotFiniteError where the model returns NaN or infinity, and
        UserError where memory does not suffice for a single question.
        """
        if self._any_process is None:
            with torch.inference_mode():
                answers, self.batch = answer_in_batches(
                    questions, self.batch, self._locate_batch, self._memory_remedy
                )
            return answers
        # Processes with shards of the weights must all compute the same number of batches.
        answers = []
        for start in range(0, len(questions), self.batch):
            with torch.no_grad():
                answers += self._locate_batch(questions[start : start + self.batch])
        return answers

    def _memory_remedy(self) -> str:
        """The keys that reduce the memory of a question, as far as they are not used yet."""
        contract, remedies = self.contract, []
        if not all(contract.search_size):
            tokens = contract.max_pixels // contract.side_multiple**2
            remedies.append(f"model.search_tokens={max(1, tokens // 2)}")
        if self.model.dtype == torch.float32 and self.device.type == "cuda":
            remedies.append("model.dtype=bfloat16")
        if quantization_of(self.model) is None:
            remedies.append("model.quantization=4bit")
        return ", ".join([*remedies, "or a smaller model= or mask_head="])

    def _locate_batch(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers to one batch, by one forward pass and the decoding of boxes."""
        # 1. One forward pass over the questions with the forced prefix: " true", then the begin of a box. The
        #    cache keeps keys and values for step 3. Only logits of the last tokens are computed: (batch,
        #    forced length + 1, vocabulary).
        encoded = self.encoder.encode(questions, self.contract.format.forced_prefix)
        encoded = encoded.to(self.device)
        inputs = encoded.inputs
        cache = DynamicCache(config=self.model.config.get_text_config())
        kept = self._forced_length + 1
        output = forward(self.model, encoded, past_key_values=cache, use_cache=True, logits_to_keep=kept)
        # 2. The first of these logits are those before the prefix, where the model decides between true and
        #    false. The softmax is over these two tokens alone: (batch, 2) -> (batch,).
        decision = output.logits[:, 0, [self._visible, self._absent]].float().softmax(-1)[:, 0]
        visible: list[float] = decision.tolist()
        self._check("visible probability", visible)
        # 3. Decode boxes for the rows whose target is likely visible. The other rows are removed from the
        #    cache, which saves time.
        visible_rows = [row for row, probability in enumerate(visible) if probability >= self.box_threshold]
        boxes: dict[int, Decoded] = {}
        if visible_rows:
            # `reorder_cache` is annotated for a LongTensor, which no function of torch returns.
            selected: Any = torch.tensor(visible_rows, device=decision.device)
            # Not `batch_select_indices`, which caches of linear attention do not have. Layers on several GPUs
            # have their cache there.
            cache.reorder_cache(selected)
            # The forward pass has set them: the next position of each row minus its number of tokens.
            deltas = self.model.model.rope_deltas[selected]
            rows = self._decode(
                output.logits[selected, -1], inputs["attention_mask"][selected], deltas, cache
            )
            boxes = dict(zip(visible_rows, rows, strict=True))
        # 4. Parse the numbers, and convert them to boxes in pixels of each question's image.
        return [
            self._answer(question, resized, probability, boxes.get(row))
            for row, (question, resized, probability) in enumerate(
                zip(questions, encoded.resized, visible, strict=True)
            )
        ]

    def _check(self, what: str, values: Iterable[float]) -> None:
        """Raise NotFiniteError where one of the values is NaN or infinite."""
        check_finite(KEY, self.checkpoint, self.model.dtype, what, values)

    def _decode(
        self, logits: torch.Tensor, mask: torch.Tensor, deltas: torch.Tensor, cache: DynamicCache
    ) -> list[Decoded]:
        """Decode greedily until every row has closed its box; returns what each row contains before that.

        `logits` (batch, vocabulary) are those of the first number's first token. `mask` (batch, length) and
        `deltas` (batch, 1) are the attention mask and the position offsets of what is in the cache.
        """
        tokens, scores = [], []  # (batch,) for each step
        closing = self._closing.to(logits.device)  # training may move the model after construction
        open_rows = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        for _ in range(MAX_BOX_TOKENS):
            # 1. The most likely token of each row. Closed rows are decoded on with the others, because the
            #    batch is one tensor. Their further tokens are dropped in `_before_closing`.
            best = logits.float().log_softmax(-1).max(-1)
            tokens.append(best.indices)
            scores.append(best.values)
            open_rows &= ~torch.isin(best.indices, closing)
            if not self._is_any_open(open_rows):
                break
            # 2. The next logits. With multimodal rotary embeddings an image takes fewer positions than
            #    tokens, hence the offsets `deltas`. A text token has the same position on all three axes: (3,
            #    batch, 1).
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            logits = self.model(
                input_ids=best.indices[:, None],
                attention_mask=mask,
                position_ids=(mask.sum(1, keepdim=True) - 1 + deltas).expand(3, -1, -1),
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
        # 3. Check the scores of all tokens, not only of digits: where a score is NaN, the token is arbitrary.
        all_scores = torch.stack(scores, dim=1)  # (batch, steps)
        self._check("score of a box", [float(all_scores.sum())])
        return [
            self._before_closing(*row) for row in zip(torch.stack(tokens, dim=1), all_scores, strict=True)
        ]

    def _is_any_open(self, open_rows: torch.Tensor) -> bool:
        """Whether a box of this batch, or of a batch in another process, is still open."""
        is_open = open_rows.any()
        return bool(is_open) if self._any_process is None else self._any_process(is_open)

    def _before_closing(self, tokens: torch.Tensor, scores: torch.Tensor) -> Decoded:
        """The numbers of a row as text, and the log-probabilities of their digits.

        `tokens` and `scores` are (steps,). A row without a closing token has all of its tokens.
        """
        closed = torch.isin(tokens, self._closing.to(tokens.device)).nonzero()
        length = int(closed[0, 0]) if len(closed) else len(tokens)
        are_digits = torch.isin(tokens[:length], self._digits.to(tokens.device))
        return self.tokenizer.decode(tokens[:length]), scores[:length][are_digits]

    def _answer(self, question: Question, resized: Size, visible: float, box: Decoded | None) -> Answer:
        """The answer of one decoded row, with the box in pixels of the question's image."""
        if box is None:
            return Answer(visible, None, 0.0, "")
        numbers, digit_scores = box
        parsed = self.contract.format.parse(numbers)
        frame_size = (question.image.shape[1], question.image.shape[0])
        box_xyxy = to_frame(self.contract, parsed, resized, frame_size) if parsed else None
        # The geometric mean of the probabilities, which does not fall with the number of digits.
        confidence = float(digit_scores.mean().exp()) if len(digit_scores) else 0.0
        return Answer(visible, box_xyxy, confidence, numbers)
