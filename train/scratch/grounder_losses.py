"""Auxiliary losses on image tokens: what each shows, and whether that is what the words mean.

The answer's few digits teach slowly. Every token of the image can be asked instead: the vision
tower's, which colour and shape it shows and how far the thing's edges are; and, half-way up the
language model, where the words stand before the image, whether its colour and its shape are those
named, whether it lies on the target, and where the target's box is. The heads are thrown away after
training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedTokenizerBase

from data_prep.contract.formats import AnswerFormat
from data_prep.geometry import Size
from data_prep.world.vocabulary import COLOURS, SHAPES
from models.grounder.model import digit_tokens
from train.pairs import IGNORED
from train.scratch.frame_pool import AMBIGUOUS, NO_OBJECT, AnnotatedFrame
from train.scratch.questions import Sample

COLOUR_INDEX = {name: index for index, name in enumerate(COLOURS)}
SHAPE_INDEX = {name: index for index, name in enumerate(SHAPES)}
DIGIT_WEIGHTS = (2.0, 1.5, 0.7)  # hundreds, tens, units: a wrong leading digit costs most of the box
ON_TARGET_WEIGHT = 3.0  # a target covers few tokens: neither side should outweigh the other by far


class LookHead(nn.Module):
    """From a vision token to logits of colours and shapes (the last of each: nothing), and edges.

    The edges are the distances to left, top, right and bottom of the thing's box, in tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.parts = (len(COLOURS) + 1, len(SHAPES) + 1, 4)
        self.out = nn.Linear(width, sum(self.parts))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Features (tokens, width) to logits of colours and of shapes and to edges, each (tokens, …)."""
        return self.out(features).split(self.parts, dim=-1)


class MatchHead(nn.Module):
    """From a token's hidden state to logits of *named colour*, *named shape*, *on the target*, and a box.

    The box is xyxy as shares of the image.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 7)

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (batch, tokens, width) to logits (batch, tokens, 3) and boxes (batch, tokens, 4)."""
        out = self.out(self.norm(hidden))
        return out[..., :3], out[..., 3:].sigmoid()


class NamedHead(nn.Module):
    """From the hidden state of an image token to logits of the colour and the shape that the words name.

    Whether a token shows what is named is an *and* of two things, and an *and* is learned only where both
    are at hand: the token knows what it shows, and this head makes it know what is named.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.parts = (len(COLOURS), len(SHAPES))
        self.out = nn.Linear(width, sum(self.parts))

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Hidden states (batch, tokens, width) to logits (batch, tokens, colours) and (…, shapes)."""
        return self.out(self.norm(hidden)).split(self.parts, dim=-1)


def look_loss(head: LookHead, features: torch.Tensor, shots: Sequence[AnnotatedFrame]) -> torch.Tensor:
    """What the vision tower sees of each shot; `features` (shots, tokens, width), tokens row-major."""
    owners = torch.from_numpy(_stack(shots)).flatten(1).to(features.device)
    colour, shape, edges = head(features.flatten(0, 1))
    known = (owners != AMBIGUOUS).flatten()
    colours, shapes = _shown(shots, owners)
    loss = F.cross_entropy(colour[known], colours.flatten()[known])
    loss = loss + F.cross_entropy(shape[known], shapes.flatten()[known])
    owned = (owners >= 0).flatten()
    if not owned.any():
        return loss
    truth = _edges(shots, owners).flatten(0, 1)[owned]
    return loss + F.smooth_l1_loss(edges[owned], truth, beta=0.1)


@dataclass(frozen=True)
class TokenMetrics:
    """What the vision tower tells of tokens that show a thing."""

    colour: float  # share of tokens whose colour is told right
    shape: float  # share of tokens whose shape is told right
    edges: float  # mean distance in tokens between an edge of the thing's box and where it was told

    def __str__(self) -> str:
        return f"colour {self.colour:.3f}  shape {self.shape:.3f}  edges off by {self.edges:.2f} tokens"


def token_metrics(head: LookHead, features: torch.Tensor, shots: Sequence[AnnotatedFrame]) -> TokenMetrics:
    """The head's figures on `features` (shots, tokens, width), tokens row-major."""
    owners = torch.from_numpy(_stack(shots)).flatten(1).to(features.device)
    owned = (owners >= 0).flatten()
    colour, shape, edges = (part[owned] for part in head(features.flatten(0, 1)))
    colours, shapes = (truth.flatten()[owned] for truth in _shown(shots, owners))
    off = (edges - _edges(shots, owners).flatten(0, 1)[owned]).abs()
    right = [(told.argmax(-1) == truth).float() for told, truth in ((colour, colours), (shape, shapes))]
    return TokenMetrics(*(part.mean().item() for part in (*right, off)))


def _shown(shots: Sequence[AnnotatedFrame], owners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the colour and of the shape that each token shows, (shots, tokens); the last is nothing."""
    colours = _looked_up([[COLOUR_INDEX[thing.colour] for thing in shot.things] for shot in shots], owners)
    shapes = _looked_up([[SHAPE_INDEX[thing.shape] for thing in shot.things] for shot in shots], owners)
    colours[colours < 0], shapes[shapes < 0] = len(COLOURS), len(SHAPES)
    return colours, shapes


def _stack(shots: Sequence[AnnotatedFrame]) -> np.ndarray:
    return np.stack([shot.owner for shot in shots])


def _looked_up(tables: Sequence[Sequence[int]], owners: torch.Tensor) -> torch.Tensor:
    """`tables[row][owner]` for each token (rows, tokens); -1 where no thing owns it."""
    most = max(map(len, tables))
    padded = torch.tensor([[*table, *[0] * (most - len(table))] for table in tables], device=owners.device)
    found = padded.gather(1, owners.clamp(min=0).long())
    return found.masked_fill(owners < 0, -1)


def _edges(shots: Sequence[AnnotatedFrame], owners: torch.Tensor) -> torch.Tensor:
    """For each token the distances in tokens to the edges of its owner's box, (shots, tokens, 4)."""
    rows, columns = shots[0].owner.shape
    boxes = torch.zeros(*owners.shape, 4)
    for row, shot in enumerate(shots):
        table = torch.tensor([thing.box_resized or (0.0,) * 4 for thing in shot.things])
        boxes[row] = table[owners[row].clamp(min=0).long().cpu()]
    side = shots[0].image.shape[1] / columns  # of a token, in pixels
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    middle = torch.stack([x, y, x, y], dim=-1).flatten(0, 1)
    signs = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    return ((boxes / side - middle) * signs).to(owners.device)


def search_tokens(input_ids: torch.Tensor, image_token: int, count: int) -> torch.Tensor:
    """Positions (batch, count) of the search image's tokens: the last `count` image tokens of each row."""
    return torch.stack([(row == image_token).nonzero()[-count:, 0] for row in input_ids])


def match_loss(head: MatchHead, hidden: torch.Tensor, samples: Sequence[Sample], size: Size) -> torch.Tensor:
    """What the language model says of each token of the search image.

    `hidden` (batch, tokens, width) are the search image's tokens, `size` is the image's (width, height).
    """
    logits, boxes = head(hidden.float())
    owners = torch.from_numpy(_stack([sample.frame for sample in samples])).flatten(1).to(hidden.device)
    same_colour = _matches(samples, owners, "colour")
    same_shape = _matches(samples, owners, "shape")
    targets = torch.tensor([NO_OBJECT if s.thing is None else s.thing for s in samples], device=owners.device)
    on_target = (owners == targets[:, None]) & (owners >= 0)
    known = owners != AMBIGUOUS
    loss = F.binary_cross_entropy_with_logits(
        logits[..., 2][known],
        on_target[known].float(),
        pos_weight=logits.new_tensor(ON_TARGET_WEIGHT),
    )
    for index, matches in enumerate((same_colour, same_shape)):
        if (asked := matches >= 0).any():
            loss = loss + 0.5 * F.binary_cross_entropy_with_logits(
                logits[..., index][asked], matches[asked].float()
            )
    if not on_target.any():
        return loss
    scale = torch.tensor([*size, *size], device=boxes.device)
    truth = torch.tensor([s.box_resized or (0.0,) * 4 for s in samples], device=boxes.device) / scale
    distance = (boxes - truth[:, None]).abs().mean(-1)
    return loss + 4 * distance[on_target].mean()


def _matches(samples: Sequence[Sample], owners: torch.Tensor, attribute: str) -> torch.Tensor:
    """1 where a token's thing has the attribute that the words name, 0 where not, -1 where nobody asks."""
    tables = [
        [
            _match(getattr(sample.phrase, attribute), getattr(thing, attribute))
            for thing in sample.frame.things
        ]
        for sample in samples
    ]
    return _looked_up(tables, owners)


def _match(named: str | None, shown: str) -> int:
    return -1 if named is None else int(named == shown)


def named_loss(head: NamedHead, hidden: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
    """What image tokens know of the words; `hidden` (batch, tokens, width) are the search image's."""
    loss = hidden.new_zeros(())
    for logits, attribute, index in zip(
        head(hidden), ("colour", "shape"), (COLOUR_INDEX, SHAPE_INDEX), strict=True
    ):
        named = [getattr(sample.phrase, attribute) for sample in samples]
        rows = [row for row, name in enumerate(named) if name is not None]
        if rows:
            truth = torch.tensor([index[named[row]] for row in rows], device=hidden.device)
            loss = loss + F.cross_entropy(
                logits[rows].flatten(0, 1), truth.repeat_interleave(hidden.shape[1])
            )
    return loss


# ---- answer tokens ----


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
