"""The decoding of boxes, with drafts.

Decoding goes on for the open rows of a batch together, until each has ended its box or its list of boxes.

A question may have a draft: a box that is likely its answer. Its tokens are appended to those of the
question, and one forward pass gives the logits behind each of them. Tokens that decoding without a draft
would have chosen are kept, the first other one is replaced by that choice, and the rest of the draft is
proposed again in the next forward pass. This is speculative decoding (arXiv 2211.17192) for decoding without
randomness: it needs fewer forward passes, and the tokens of the answer are those of decoding without a draft.
"""

from collections.abc import Callable, Sequence

import torch

from models.grounder.answer_tokens import MAX_BOX_TOKENS, AnswerTokens, DecodedAnswer, geometric_mean
from models.grounder.batch_cache import BatchCache, padded
from models.grounder.digit_choice import QuantileDigits
from models.grounder.model import QwenVL
from models.interfaces import GroundingStatistics


class RowDecoder:
    """The answer of one row of a batch while it is decoded.

    `tokens` and their log-probabilities `scores` are what was chosen so far. `draft` holds the tokens that
    likely follow. With `quantiles` digits are chosen by them; None: every token is the most likely one.
    """

    def __init__(
        self,
        answer_tokens: AnswerTokens,
        draft: Sequence[int] = (),
        quantiles: QuantileDigits | None = None,
    ) -> None:
        self.draft = list(draft)
        self.quantiles = quantiles
        self.tokens: list[int] = []
        self.scores: list[float] = []
        self.samples: list[RowDecoder] = []  # several answers to the same question (`box_decoding`)
        self.is_open = True
        self._vocabulary, self.max_tokens = answer_tokens, answer_tokens.max_tokens
        # The number of tokens since a box began, and whether it is not yet closed.
        self._length, self._is_inside = 0, True

    @property
    def digit_tokens(self) -> list[int]:
        """The token ids of the digits 0 to 9."""
        return self._vocabulary.ordered_digits

    def sample(self, quantiles: QuantileDigits) -> "RowDecoder":
        """Another answer to the same question, still to be decoded."""
        return RowDecoder(self._vocabulary, (), quantiles)

    def probability(self, tokens: Sequence[int], scores: Sequence[float]) -> float:
        """The geometric mean of the probabilities of the digits; `scores` are log-probabilities of tokens."""
        return geometric_mean(self._vocabulary.digit_scores(tokens, scores))

    def verify(
        self,
        tokens: Sequence[int],
        scores: Sequence[float],
        digit_scores: Sequence[Sequence[float]] | None = None,
    ) -> int:
        """Take the choices behind 0, 1, … tokens of the draft, up to the first that differs from it.

        `tokens` are the most likely ones, with their log-probabilities `scores`; `digit_scores` are those of
        the digits 0 to 9, which rows with `quantiles` need. Returns the number of tokens of the draft that
        were accepted. The rest of the draft remains.
        """
        draft, accepted = self.draft, 0
        for column, (token, score) in enumerate(zip(tokens, scores, strict=True)):
            if self.quantiles is not None and digit_scores is not None:
                token, score = self.quantiles.choose(token, score, digit_scores[column])
            self._append(token, score)
            if not self.is_open:
                break
            if accepted == len(draft) or token != draft[accepted]:
                self.draft = self._remaining(draft[accepted:], token)
                break
            accepted += 1
        return accepted

    def accept_draft(self, scores: Sequence[float]) -> None:
        """Take the whole draft for the answer; `scores` are the log-probabilities of its tokens."""
        self.tokens, self.scores = list(self.draft), list(scores)
        self.is_open = False

    def decoded(self) -> DecodedAnswer:
        """The answer of this row. A row that has not ended has all of its tokens."""
        return self._vocabulary.decoded(self.tokens, self.scores)

    def _append(self, token: int, score: float) -> None:
        self.tokens.append(token)
        self.scores.append(score)
        self._length += 1
        if token in self._vocabulary.closing:
            self._is_inside = False
        if token in self._vocabulary.opening:
            self._is_inside, self._length = True, 0
        # A box that does not close is none, so nothing after it is needed.
        is_endless = self._is_inside and self._length >= MAX_BOX_TOKENS
        is_full = len(self.tokens) >= self.max_tokens
        self.is_open = not (is_endless or is_full or token in self._vocabulary.ending)

    def _remaining(self, draft: list[int], token: int) -> list[int]:
        """What likely follows `token`, which the model chose instead of the first token of `draft`.

        Any proposal is correct. This one keeps the numbers aligned where one has more or fewer digits.
        """
        digits = self._vocabulary.digits
        if not draft:
            return []
        if token in digits:
            # Another digit, or one more than in the draft.
            return draft[1:] if draft[0] in digits else draft
        # The end of a number or of a label that is shorter than in the draft.
        return draft[draft.index(token) + 1 :] if token in draft else draft


def draft_scores(logits: torch.Tensor, rows: Sequence[RowDecoder]) -> list[list[float]]:
    """The log-probabilities of the tokens of each row's draft; `logits` are those of `decode_boxes`."""
    drafts = [row.draft for row in rows]
    if logits.shape[1] == 1:
        return [[] for _ in drafts]
    ids, _ = padded(drafts, logits.device)
    # (batch, longest, vocabulary) -> (batch, longest)
    scores = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[..., None])[..., 0].tolist()
    return [row[: len(draft)] for row, draft in zip(scores, drafts, strict=True)]


def decode_boxes(
    model: QwenVL,
    logits: torch.Tensor,
    cache: BatchCache,
    rows: Sequence[RowDecoder],
    statistics: GroundingStatistics,
    is_any_open: Callable[[bool], bool] | None = None,
) -> None:
    """Decode until every row has ended; the rows hold the result, and `cache` is used up.

    The most likely tokens are taken, and in rows with `quantiles` the digits that they choose.

    `logits` (batch, longest draft + 1, vocabulary) are those behind the forced prefix, and behind each token
    of the drafts. The last columns of the cache are the drafts, padded on the right.

    `is_any_open` is needed where the weights are sharded over processes. Given whether a row is open here, it
    returns whether one is open in any of them; then all processes compute equally many forward passes.
    """
    rows = list(rows)
    for _ in range(rows[0].max_tokens):
        # 1. The most likely token behind each column: (batch, columns, vocabulary) -> (batch, columns).
        log_probabilities = logits.float().log_softmax(-1)
        best = log_probabilities.max(-1)
        digit_scores = _digit_scores(log_probabilities, rows)
        # 2. Each open row takes its tokens up to the first one that is not in its draft.
        accepted = []
        for row, tokens, scores, of_digits in zip(
            rows, best.indices.tolist(), best.values.tolist(), digit_scores, strict=True
        ):
            columns = len(row.draft) + 1  # the others are padding
            accepted.append(row.verify(tokens[:columns], scores[:columns], of_digits) if row.is_open else 0)
        statistics.accepted_draft_tokens += sum(accepted)
        is_open = any(row.is_open for row in rows)
        if not (is_open if is_any_open is None else is_any_open(is_open)):
            return
        cache.keep_accepted(logits.shape[1] - 1, accepted)
        # 3. Rows that have ended are removed. With sharded weights they are decoded on, and their further
        #    tokens are dropped, because a process needs a row as long as another one has an open row.
        if is_any_open is None:
            kept = [index for index, row in enumerate(rows) if row.is_open]
            cache.select(kept)
            rows = [rows[index] for index in kept]
        # 4. The next logits, behind the last token of each row and each token of its remaining draft.
        last = [[row.tokens[-1], *row.draft] for row in rows]
        logits = cache.forward(model, last)
        statistics.decoding_steps += 1


def _digit_scores(
    log_probabilities: torch.Tensor, rows: Sequence[RowDecoder]
) -> list[list[list[float]] | None]:
    """For each row the log-probabilities of the digits behind each column, (columns, 10); None: unneeded."""
    if all(row.quantiles is None for row in rows):
        return [None] * len(rows)
    digits: list[list[list[float]]] = log_probabilities[..., rows[0].digit_tokens].tolist()
    return list(digits)
