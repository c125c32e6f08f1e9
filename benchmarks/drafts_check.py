"""Are answers with drafts those of plain greedy decoding, in every contract?

Small models with random weights answer random questions in the words of each built-in contract. Only tokens
of boxes may be answered, so that answers are long and differ. Each question is answered without a draft, and
then in another order and in other batches with one: with the answer itself, with the answer after a change,
with an unrelated box, or with none.
"""

import dataclasses
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from data_prep.contract.contract import BUILT_IN, Contract
from data_prep.contract.formats import ANSWER_FORMATS
from data_prep.geometry import Box, Size
from models.grounder.grounder import Grounder
from models.grounder.model import QwenVL, QwenVLProcessor
from models.grounder.nano import (
    CHAT_TEMPLATE,
    build_grounder,
    build_processor,
    build_tokenizer,
    small_settings,
)
from models.grounder.questions import QuestionEncoder
from models.interfaces import Answer, GroundingStatistics, Question

WIDTH, LAYERS, VISION_LAYERS = 64, 2, 2
FRAME = (96, 64)  # width and height of the frames of questions
TOKENS = 6  # of a search image
WORDS = ("the red cup", "it", "a person in a long blue coat", "the cup left of the box")
HIDDEN = -1e4  # added to the logits of tokens that may not follow; finite, because both decisions may be
SEPARATED = 0.2
TOLERANCE = 1e-3  # of probabilities, which depend on the batch by rounding errors


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """How many answers of a contract differ with a draft, and the work without and with drafts."""

    questions: int
    different: int
    plain: GroundingStatistics
    drafted: GroundingStatistics


class _EncoderWithTexts(QuestionEncoder):
    """Takes drafts from texts, by the identity of the question; of others, from their boxes."""

    def __init__(self, processor: QwenVLProcessor, contract: Contract) -> None:
        super().__init__(processor, contract)
        self.texts: dict[int, str] = {}

    def draft_numbers(self, question: Question, resized: Size) -> str | None:
        """The text for this question, else the numbers of its box."""
        return self.texts.get(id(question)) or super().draft_numbers(question, resized)


def build_small(name: str, seed: int = 0) -> Grounder:
    """A small grounder with random weights, asked by a built-in contract, with images of few tokens."""
    contract = BUILT_IN[name]
    side = contract.side_multiple
    model, processor = (_qwen2_5_vl if side == 28 else _qwen3_vl)(seed)
    small = dataclasses.replace(
        contract,
        min_pixels=TOKENS * side**2,
        max_pixels=TOKENS * side**2,
        search_size=(3 * side, 2 * side) if any(contract.search_size) else (0, 0),
        template_pixels=2 * side**2,
        template_min_pixels=0,
        crop_size=(2 * side, 2 * side) if any(contract.crop_size) else (0, 0),
        thinking=min(contract.thinking, 3),
    )
    # In float64 rounding errors, which depend on the batch, do not change the most likely token.
    return Grounder(model.eval().double(), processor, small)


def check_drafts(name: str, count: int, batch: int = 8, seed: int = 0, decode: str = "greedy") -> CheckResult:
    """Compare the answers to `count` questions of a contract with and without drafts."""
    rng = random.Random(seed)
    grounder = build_small(name, seed)
    grounder.batch, grounder.decode = batch, decode
    grounder.encoder = encoder = _EncoderWithTexts(grounder.encoder.processor, grounder.contract)
    questions = [_question(rng, index) for index in range(count)]
    with boxes_only(grounder):
        # 1. Without drafts.
        plain = grounder.locate(questions)
        plain_statistics = dataclasses.replace(grounder.statistics)
        grounder.statistics.reset()
        # 2. The same questions with drafts, in another order.
        drafted = [_with_draft(rng, encoder, *pair) for pair in zip(questions, plain, strict=True)]
        order = rng.sample(range(count), count)
        answers = dict(zip(order, grounder.locate([drafted[index] for index in order]), strict=True))
    different = sum(not _same(answers[index], answer) for index, answer in enumerate(plain))
    return CheckResult(count, different, plain_statistics, grounder.statistics)


@lru_cache
def _tokenizer() -> PreTrainedTokenizerFast:
    """The small grounder's tokenizer, trained on the answers of all formats."""
    texts = [
        answers.start + answers.render(numbers)
        for answers in ANSWER_FORMATS.values()
        for numbers in ("1, 2, 3, 4", None)
    ]
    trained: Any = build_tokenizer().train_new_from_iterator(texts * 50, 600)
    return trained


def _qwen2_5_vl(seed: int) -> tuple[QwenVL, QwenVLProcessor]:
    processor = build_processor(_tokenizer())
    return build_grounder(processor, WIDTH, LAYERS, VISION_LAYERS, seed), processor


def _qwen3_vl(seed: int) -> tuple[QwenVL, QwenVLProcessor]:
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            image_mean=[0.5] * 3, image_std=[0.5] * 3, patch_size=16, merge_size=2, temporal_patch_size=2
        ),
        tokenizer=_tokenizer(),
        video_processor=Qwen3VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )
    torch.manual_seed(seed)
    rope = {"mrope_section": [6, 5, 5], "mrope_interleaved": True}
    vision = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    settings = small_settings(
        processor, WIDTH, LAYERS, VISION_LAYERS, rope=rope, text={"head_dim": 32}, vision=vision
    )
    model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**settings))
    model.generation_config.do_sample = False
    return model, processor


@contextmanager
def boxes_only(grounder: Grounder) -> Iterator[None]:
    """While it lasts, the model answers with numbers, separators and what follows a box.

    The tokens that may follow depend on the token before: digits follow separators. The weights decide among
    them, with `SEPARATED` added to the logits of tokens that end a number.
    """
    tokenizer, size = grounder.tokenizer, len(grounder.tokenizer)

    def chosen(texts: Iterable[str], value: float) -> torch.Tensor:
        ids = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
        added = torch.zeros(size)
        added[sorted({token for row in ids for token in row})] = value
        return added

    # 1. What is added to the logits behind a digit, and behind any other token: (vocabulary,) each.
    formats = grounder.contract.formats
    digits = chosen(["0123456789"], 1.0)
    ends = chosen([grounder.contract.separator, *(each.box_end for each in formats)], 1.0)
    ends *= 1 - digits
    behind_digit = HIDDEN * (1 - digits - ends) + SEPARATED * ends
    lists = chosen((each.box_end + "[" for each in formats if each.list_end), 1.0)
    behind_other = HIDDEN * (1 - (digits + lists).clamp(max=1))
    seen: list[torch.Tensor] = []

    def remember(_module: Any, _inputs: Any, arguments: dict[str, Any]) -> None:
        seen[:] = [arguments["input_ids"]]

    # The logits of random weights are nearly those of the last token alone. Their sawtooth wave depends on
    # the whole context: hidden states (batch, columns, width) -> (batch, columns, vocabulary).
    phases = torch.randn(WIDTH, size, generator=torch.Generator().manual_seed(0)).double()

    def add(_module: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        before = seen[0][:, -logits.shape[1] :]  # (batch, columns): the token before each of these logits
        return (inputs[0] @ phases).frac() + torch.where(
            digits[before][..., None] > 0, behind_digit, behind_other
        )

    # 2. The hooks.
    handles = [
        grounder.model.register_forward_pre_hook(remember, with_kwargs=True),
        grounder.model.lm_head.register_forward_hook(add),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _question(rng: random.Random, index: int) -> Question:
    """A random question: with and without template, with and without last box."""
    image = np.random.default_rng(index // 3).integers(0, 255, (FRAME[1], FRAME[0], 3), np.uint8)
    template = image[:40, :40].copy() if rng.random() < 0.6 else None
    last_box = _box(rng) if rng.random() < 0.6 else None
    return Question(image, rng.choice(WORDS), template, last_box, of_track=True)


def _box(rng: random.Random) -> Box:
    left, top = rng.uniform(0, FRAME[0] - 20), rng.uniform(0, FRAME[1] - 20)
    return left, top, left + rng.uniform(5, 20), top + rng.uniform(5, 20)


def _with_draft(
    rng: random.Random, encoder: _EncoderWithTexts, question: Question, answer: Answer
) -> Question:
    """The question with a random draft, or with none."""
    kind = rng.choice(("none", "box", "answer", "changed", "changed"))
    if kind == "none":
        return question
    drafted = dataclasses.replace(question, draft_xyxy=_box(rng))
    if kind == "answer":
        encoder.texts[id(drafted)] = answer.text
    elif kind == "changed":
        place = rng.randrange(len(answer.text) + 1)
        # A character is inserted, removed or replaced.
        encoder.texts[id(drafted)] = (
            answer.text[:place] + rng.choice(("7", "", ",")) + answer.text[place + rng.randrange(2) :]
        )
    return drafted


def _same(first: Answer, second: Answer) -> bool:
    pairs = ((first.visible, second.visible), (first.box_confidence, second.box_confidence))
    is_close = all(abs(one - other) <= TOLERANCE for one, other in pairs)
    return is_close and (first.text, first.box_xyxy) == (second.text, second.box_xyxy)
