"""Labels and loss weights of answer tokens, and the weighted loss."""

import torch
from transformers import PreTrainedTokenizerBase

from data_prep.answer_formats import AnswerFormat
from models.grounder.model import digit_tokens

IGNORED = -100
DIGIT_WEIGHTS = (2.0, 1.5, 0.7)  # hundreds, tens, units: a wrong leading digit costs most of the box


def label_answers(
    input_ids: torch.Tensor, answers: list[str], tokenizer: PreTrainedTokenizerBase
) -> torch.Tensor:
    """Labels (batch, length) of a left-padded batch that ends with its answers; IGNORED elsewhere."""
    labels = torch.full_like(input_ids, IGNORED)
    for row, answer in enumerate(answers):
        length = len(tokenizer(answer, add_special_tokens=False).input_ids)
        labels[row, -length:] = input_ids[row, -length:]
    return labels


class TokenWeights:
    """The weight of each answer token in the loss."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, answers: AnswerFormat, decision_weight: float
    ) -> None:
        def only(text: str) -> int:
            return tokenizer(text, add_special_tokens=False).input_ids[-1]

        self.decisions = torch.tensor([only(answers.visible), only(answers.absent)])
        self.digits = torch.tensor(digit_tokens(tokenizer))
        self.decision_weight = decision_weight

    def __call__(self, labels: torch.Tensor) -> torch.Tensor:
        """Weights (batch, length) of labels: of visible or absent, and of digits by their place."""
        weights = (labels != IGNORED).float()
        weights[torch.isin(labels, self.decisions)] = self.decision_weight
        place = torch.zeros(len(labels), dtype=torch.long)
        are_digits = torch.isin(labels, self.digits)
        table = torch.tensor(DIGIT_WEIGHTS)
        for column in range(labels.shape[1]):
            now = are_digits[:, column]
            weights[now, column] = table[place[now].clamp(max=len(DIGIT_WEIGHTS) - 1)]
            place = torch.where(now, place + 1, 0)
        return weights


def weighted_loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the next token, averaged by weight.

    `logits` (batch, kept, vocabulary) are those of the last `kept` positions; `labels` and
    `weights` (batch, length) belong to the whole row.
    """
    kept = logits.shape[1]
    targets, shares = labels[:, -kept + 1 :], weights[:, -kept + 1 :]
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
    )
    return (losses * shares).sum() / shares.sum()
