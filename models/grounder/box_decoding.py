"""How boxes are decoded (`model.decode`).

- `greedy`: the most likely tokens.
- `expectation`: the median of each coordinate, given the coordinates before it. It takes as many forward
  passes as `greedy`, and drafts save as many of them.
- `samples`: several boxes for each question, and the median of each of their sides. They share the forward
  pass over the question, and are rows of one batch. Their coordinates are quantiles that are spread evenly
  (arithmetic sampling, arXiv 2210.15458) and not random, so equal questions have equal answers. Drafts are
  scored, but save nothing.

The boxes of a question depend neither on its draft nor on the other questions of a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean, median

import torch

from data_prep.contract.contract import Contract
from data_prep.geometry import Box
from models.grounder.answer_tokens import AnswerTokens
from models.grounder.batch_cache import BatchCache
from models.grounder.decoding import RowDecoder, decode_boxes
from models.grounder.digit_choice import MEDIAN, NUMBERS, QuantileDigits
from models.grounder.model import QwenVL
from models.interfaces import Answer, GroundingStatistics

GREEDY, EXPECTATION, SAMPLES = "greedy", "expectation", "samples"
NUM_SAMPLES = 8  # boxes of a question with `samples`
LATTICE_FACTORS = (1, 3, 5, 7)  # for each number of a box; they have no divisor in common with NUM_SAMPLES


def decoding_of(setting: str, contract: Contract) -> str:
    """The way of decoding that `model.decode` names for a contract."""
    if setting != "auto":
        return setting
    return EXPECTATION if contract.digits else GREEDY


def new_row(tokens: AnswerTokens, draft: Sequence[int], decode: str, is_padded: bool) -> RowDecoder:
    """The answer of a question that is still to be decoded. `is_padded`: numbers have leading zeros."""
    if decode != EXPECTATION:
        return RowDecoder(tokens, draft)
    return RowDecoder(tokens, draft, QuantileDigits(tokens.ordered_digits, is_padded, MEDIAN))


def decode_samples(
    model: QwenVL,
    logits: torch.Tensor,
    cache: BatchCache,
    rows: Sequence[RowDecoder],
    is_padded: bool,
    statistics: GroundingStatistics,
    is_any_open: Callable[[bool], bool] | None = None,
) -> list[list[RowDecoder]]:
    """NUM_SAMPLES decoded boxes for each of the rows; the arguments are those of `decode_boxes`."""
    # 1. The drafts are dropped, and each row is repeated, with a copy of its keys and values.
    cache.keep_accepted(logits.shape[1] - 1, [0] * len(rows))
    repeated = [index for index in range(len(rows)) for _ in range(NUM_SAMPLES)]
    cache.select(repeated)
    # 2. All samples are decoded as one batch.
    quantiles = sample_quantiles()
    samples = [
        [row.sample(QuantileDigits(row.digit_tokens, is_padded, each)) for each in quantiles] for row in rows
    ]
    decoded = [sample for of_row in samples for sample in of_row]
    decode_boxes(model, logits[repeated, :1], cache, decoded, statistics, is_any_open)
    return samples


def sample_quantiles() -> list[list[float]]:
    """The quantiles of the numbers of each sample, (NUM_SAMPLES, 4).

    Those of a number are the middles of equal parts of the interval from 0 to 1, in another order for each
    number (a rank-1 lattice).
    """
    return [
        [(row * factor % NUM_SAMPLES + 0.5) / NUM_SAMPLES for factor in LATTICE_FACTORS]
        for row in range(NUM_SAMPLES)
    ]


def median_answer(samples: Sequence[Answer]) -> Answer:
    """One answer of several to the same question: the median of each side of their boxes.

    Its confidence is the mean of theirs, and its text that of the box which is nearest to the median.
    """
    boxes = [(sample, sample.box_xyxy) for sample in samples if sample.box_xyxy is not None]
    if not boxes:
        return samples[0]
    left, top, right, bottom = (median(box[side] for _, box in boxes) for side in range(NUMBERS))
    middle: Box = (left, top, right, bottom)

    def distance(box: Box) -> float:
        return sum(abs(one - two) for one, two in zip(box, middle, strict=True))

    nearest, _ = min(boxes, key=lambda pair: distance(pair[1]))
    confidence = mean(sample.box_confidence for sample, _ in boxes)
    return replace(nearest, box_xyxy=middle, box_confidence=confidence)
