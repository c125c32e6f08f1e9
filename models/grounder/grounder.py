"""The grounder: a multimodal LLM that finds the target of an expression in an image.

The answer is a short text such as `{"visible": true, "bbox_2d": [12, 34, 56, 78]}`. It is not generated token
by token. One forward pass reads the question together with a *forced prefix*: the begin of an answer that
contains a box. The logits of the token before the prefix give the probability that the target is visible. The
numbers of the box are then decoded greedily, for all questions of a batch together. So an answer takes one
long forward pass, and one short one for each token of the box. A question may have a draft, a likely answer;
then the short forward passes are fewer, and the answer is the same (`models.grounder.decoding`). Other ways
than greedy decoding are in `models.grounder.box_decoding`. Of a format
that lists several boxes, all are decoded, and the one with the most probable digits is the answer. Thinking
models first generate a thought.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from data_prep.contract.contract import Contract
from data_prep.contract.formats import AnswerFormat
from data_prep.geometry import Size
from models.checkpoint import check_finite
from models.checkpoint_files import GROUNDER_KEY
from models.config import GrounderConfig
from models.families import family_of
from models.grounder.answer_tokens import AnswerTokens, geometric_mean, tokens_of_formats
from models.grounder.answers import best_box
from models.grounder.batch_cache import BatchCache
from models.grounder.batching import answer_in_batches, memory_remedy
from models.grounder.box_decoding import (
    GREEDY,
    SAMPLES,
    decode_samples,
    decoding_of,
    median_answer,
    new_row,
)
from models.grounder.decoding import RowDecoder, decode_boxes, draft_scores
from models.grounder.loading import load_model, quantization_of
from models.grounder.model import QwenVL, QwenVLProcessor
from models.grounder.prefill import Prefiller
from models.grounder.questions import QuestionEncoder
from models.grounder.regions import locate_in_regions
from models.grounder.second_look import OFF, look_twice, second_look_of
from models.grounder.thinking import think
from models.identity import checkpoint_identity
from models.interfaces import Answer, GroundingStatistics, Identity, Question

KEY = GROUNDER_KEY


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
        in_training: bool = False,
        decode: str = GREEDY,
        second_look: str = OFF,
    ) -> None:
        """At most `batch` questions are answered at a time. No box is decoded where the visible probability
        is below `box_threshold`. `checkpoint` is the name of the weights in messages. `decode` is a way of
        decoding boxes (`models.grounder.box_decoding`), `second_look` says which answers are of two looks
        (`models.grounder.second_look`).

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
        self.batch, self.box_threshold, self.decode = batch, box_threshold, decode
        self.second_look = second_look
        self.statistics = GroundingStatistics()
        self._any_process, self._in_training = any_process, in_training
        # With sharded weights a process decodes as long as any other one, so drafts would save nothing.
        self._supports_drafts = any_process is None and family_of(model).supports_drafts
        self._prefiller = Prefiller(model, self.statistics, any_process is None)
        self._tokens = tokens_of_formats(f"{KEY}={self.checkpoint}", contract, self.tokenizer)

    @classmethod
    def load(
        cls, config: GrounderConfig, device: torch.device, quantization: BitsAndBytesConfig | None = None
    ) -> "Grounder":
        """Load weights, processor and contract for inference; adapters are merged into their base weights.

        With `quantization` the weights are quantized, to train adapters on them.

        Raises UserError as `models.grounder.loading.load_model`, and where the contract is of another family.
        """
        model, processor, contract = load_model(config, device, quantization)
        return cls(
            *(model, processor, contract, config.batch, config.box_threshold, config.checkpoint),
            decode=decoding_of(config.decode, contract),
            second_look=second_look_of(config.second_look, contract),
        )

    @property
    def device(self) -> torch.device:
        """The device of the embeddings, which questions go to. Later layers may be on other GPUs."""
        embeddings: Any = self.model.get_input_embeddings()
        return torch.device(embeddings.weight.device)

    def check_expression(self, expression: str) -> None:
        """Raise UserError for an expression that cannot be asked for."""
        self.encoder.check_expression(expression)

    def identity(self) -> Identity:
        """What the answers depend on: the weights (`checkpoint`), `dtype`, `quantization`, `box_threshold`,
        `decode` unless it is greedy, and `second_look` unless it is off. Sizes of images are part of
        `contract`.
        """
        commit = getattr(self.model.config, "_commit_hash", None)
        # Results of versions without other ways of decoding, and without second looks, keep their identity.
        decode = {} if self.decode == GREEDY else {"decode": self.decode}
        second_look = {} if self.second_look == OFF else {"second_look": self.second_look}
        return {
            **decode,
            **second_look,
            "checkpoint": checkpoint_identity(self.checkpoint, commit),
            "dtype": str(self.model.dtype),
            "quantization": quantization_of(self.model),
            "box_threshold": self.box_threshold,
        }

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions, at most `batch` at a time, in order. Some are asked twice (`second_look`).

        Where memory runs out, `batch` is halved from then on, with a warning. Answers depend on the size of a
        batch by rounding errors only. Raises NotFiniteError where the model returns NaN or infinity, and
        UserError where memory does not suffice for a single question.
        """
        return look_twice(
            questions, self._locate_in_regions, self.contract, self.second_look, self.statistics
        )

    def _locate_in_regions(self, questions: Sequence[Question]) -> list[Answer]:
        return locate_in_regions(questions, self._locate_images, self.contract)

    def _locate_images(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions about whole images, each once."""
        # Questions of a batch have one format of answers. Most contracts have only one.
        positions: dict[AnswerFormat, list[int]] = {}
        for position, question in enumerate(questions):
            positions.setdefault(self.encoder.form(question).answer_format, []).append(position)
        answers: dict[int, Answer] = {}
        for answer_format, chosen in positions.items():
            found = self._locate_all([questions[i] for i in chosen], self._tokens[answer_format])
            answers |= zip(chosen, found, strict=True)
        return [answers[position] for position in range(len(questions))]

    def _locate_all(self, questions: Sequence[Question], tokens: AnswerTokens) -> list[Answer]:
        """The answers to questions with one format of answers, in batches."""
        answer = partial(self._locate_batch, tokens=tokens)
        try:
            if self._any_process is None:
                with torch.inference_mode():
                    remedy = partial(memory_remedy, self.model, self.contract, self._in_training)
                    release = self._prefiller.release
                    answers, self.batch = answer_in_batches(questions, self.batch, answer, remedy, release)
                return answers
            # Processes with shards of the weights must all compute the same number of batches.
            answers = []
            for start in range(0, len(questions), self.batch):
                with torch.no_grad():
                    answers += answer(questions[start : start + self.batch])
            return answers
        finally:
            self._prefiller.end_call()

    def _locate_batch(self, questions: Sequence[Question], tokens: AnswerTokens) -> list[Answer]:
        """The answers to one batch, by one forward pass and the decoding of boxes."""
        statistics = self.statistics
        # 1. Tensors of the questions with the forced prefix: " true", then the begin of a box.
        thoughts = self._think(questions, tokens.format)
        with statistics.timed("preprocess"):
            encoded = self.encoder.encode(questions, tokens.format.forced_prefix, thoughts)
            drafts = self._drafts(questions, encoded.resized, tokens)
        # 2. One forward pass over questions and drafts. The cache keeps keys and values for step 3. Only
        #    logits behind the last token before the prefix and all later tokens are computed: (batch, forced
        #    length + 1 + longest draft, vocabulary).
        logits, cache = self._prefiller.run(encoded, tokens.forced_length + 1, self.device, drafts)
        with statistics.timed("prefill"):
            visible = self._visible(logits[:, 0], tokens)
        # 3. Decode boxes.
        with statistics.timed("generate"):
            is_padded = bool(self.contract.digits)
            rows = [new_row(tokens, draft, self.decode, is_padded) for draft in drafts]
            probabilities = self._score_drafts(questions, logits[:, tokens.forced_length :], rows)
            self._decode(logits[:, tokens.forced_length :], cache, rows, visible)
        # 4. Parse the numbers, and convert them to boxes in pixels of each question's image.
        decoded = [[token for each in row.samples or [row] for token in each.tokens] for row in rows]
        statistics.add_batch(drafts, decoded)
        return [
            self._answer(question, size, visible[index], rows[index], probabilities[index])
            for index, (question, size) in enumerate(zip(questions, encoded.resized, strict=True))
        ]

    def _think(self, questions: Sequence[Question], answer_format: AnswerFormat) -> list[str] | None:
        """The thoughts of a thinking model before its answers; None for other models."""
        if not answer_format.thought_end:
            return None
        # The answer's own start follows the thought; here the text ends with the question.
        with self.statistics.timed("preprocess"):
            encoded = self.encoder.encode(questions, "", starts="")
        logits, cache = self._prefiller.run(encoded, 1, self.device, is_asked_again=True)
        with self.statistics.timed("generate"):
            return think(*(self.model, self.tokenizer, logits, cache, answer_format, self.contract.thinking))

    def _drafts(
        self, questions: Sequence[Question], sizes: Sequence[Size], tokens: AnswerTokens
    ) -> list[list[int]]:
        """The tokens of each question's draft; empty: it has none."""
        if not self._supports_drafts:
            return [[] for _ in questions]
        numbers = [
            self.encoder.draft_numbers(question, size)
            for question, size in zip(questions, sizes, strict=True)
        ]
        return [[] if each is None else tokens.draft(each) for each in numbers]

    def _visible(self, logits: torch.Tensor, tokens: AnswerTokens) -> list[float]:
        """The visible probability of each row, by the logits (batch, vocabulary) of the decision."""
        # Without a decision every row has a box, and the probability is that of its digits.
        if not tokens.format.has_decision:
            return [1.0] * len(logits)
        visible: list[float] = tokens.visible_probability(logits).tolist()
        check_finite(KEY, self.checkpoint, self.model.dtype, "visible probability", visible)
        return visible

    def _score_drafts(
        self, questions: Sequence[Question], logits: torch.Tensor, rows: Sequence[RowDecoder]
    ) -> list[float | None]:
        """The probability of each draft; one that is high enough for its question becomes the answer."""
        probabilities: list[float | None] = []
        for question, row, scores in zip(questions, rows, draft_scores(logits, rows), strict=True):
            probability = row.probability(row.draft, scores) if row.draft else None
            probabilities.append(probability)
            if probability is None:
                continue
            check_finite(KEY, self.checkpoint, self.model.dtype, "probability of a draft", [probability])
            if question.accept_draft_from is not None and probability >= question.accept_draft_from:
                row.accept_draft(scores)
        return probabilities

    def _decode(
        self, logits: torch.Tensor, cache: BatchCache, rows: Sequence[RowDecoder], visible: Sequence[float]
    ) -> None:
        """Decode the open rows whose target is likely visible. The others are removed, which saves time."""
        chosen = [
            index for index, row in enumerate(rows) if row.is_open and visible[index] >= self.box_threshold
        ]
        if not chosen:
            return
        cache.select(chosen)
        decoded = [rows[index] for index in chosen]
        is_any_open = None if self._any_process is None else self._is_any_open
        if self.decode == SAMPLES:
            is_padded = bool(self.contract.digits)
            samples = decode_samples(
                *(self.model, logits[chosen], cache, decoded, is_padded, self.statistics, is_any_open)
            )
            for row, of_row in zip(decoded, samples, strict=True):
                row.samples = of_row
            decoded = [sample for of_row in samples for sample in of_row]
        else:
            decode_boxes(self.model, logits[chosen], cache, decoded, self.statistics, is_any_open)
        # The scores of all tokens are checked, not only of digits: where one is NaN, the token is arbitrary.
        scores = [sum(row.scores) for row in decoded]
        check_finite(KEY, self.checkpoint, self.model.dtype, "score of a box", scores)

    def _is_any_open(self, is_open: bool) -> bool:
        """Whether a box of this batch, or of a batch in another process, is still open."""
        assert self._any_process is not None
        return self._any_process(torch.tensor(is_open, device=self.device))

    def _answer(
        self, question: Question, resized: Size, visible: float, row: RowDecoder, draft: float | None
    ) -> Answer:
        """The answer of one row, with the box in pixels of the question's image; `draft` is the draft's
        probability.
        """
        if row.samples:
            return median_answer(
                [self._answer(question, resized, visible, sample, draft) for sample in row.samples]
            )
        if not row.tokens:
            return Answer(visible, None, 0.0, "", draft_probability=draft)
        decoded = row.decoded()
        # The confidence of a box is that of its digits.
        boxes = [(numbers, geometric_mean(scores)) for numbers, scores in decoded.boxes]
        box, confidence, repeats = best_box(self.encoder, question, boxes, resized)
        # A format without a decision has the confidence of its box.
        if not self.encoder.form(question).answer_format.has_decision:
            visible = 0.0 if box is None else confidence
        return Answer(visible, box, confidence, decoded.text, repeats, draft_probability=draft)
