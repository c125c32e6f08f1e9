"""Losses of the small grounder: of the answer tokens, and auxiliary losses on every image token.

An answer has a dozen digits, which is little supervision for an image. So three auxiliary losses supervise
each image token. Their heads are thrown away after training.

1. `look_loss`, on the output of the vision tower: the colour and the shape that a token shows, and the edges
   of the object's box.
2. `named_loss`, on hidden states of the language model: the colour and the shape that the expression names.
   (The expression stands before the image, so that image tokens can attend to it.)
3. `match_loss`, some layers later: whether a token's colour and shape are the named ones, whether it lies on
   the target, and the target's box.
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
from train.scratch.annotated_frames import AMBIGUOUS, NO_OBJECT, AnnotatedFrame
from train.scratch.questions import Sample
from train.soft_labels import SoftLabels, soft_losses

COLOUR_INDEX = {name: index for index, name in enumerate(COLOURS)}
SHAPE_INDEX = {name: index for index, name in enumerate(SHAPES)}
DIGIT_WEIGHTS = (2.0, 1.5, 0.7)  # hundreds, tens, units: a wrong hundreds digit moves the box farthest
ON_TARGET_WEIGHT = 3.0  # weight of positive tokens, since a target covers few of them


class LookHead(nn.Module):
    """Logits of colours and shapes (the last class of each: no object) and box edges for a vision token.

    The edges are the distances to left, top, right and bottom of the object's box, in tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.parts = (len(COLOURS) + 1, len(SHAPES) + 1, 4)
        self.out = nn.Linear(width, sum(self.parts))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Features (tokens, width) to logits of colours and of shapes and to edges, each (tokens, …)."""
        return self.out(features).split(self.parts, dim=-1)


class MatchHead(nn.Module):
    """Logits of an image token: has the named colour, has the named shape, lies on the target; and a box.

    The box is the target's, xyxy, in shares of the image's sides.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 7)

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (batch, tokens, width) to logits (batch, tokens, 3) and boxes (batch, tokens, 4)."""
        out = self.out(self.norm(hidden))
        # (batch, tokens, 7): three logits, then the four sides, which the sigmoid keeps inside the image.
        return out[..., :3], out[..., 3:].sigmoid()


class NamedHead(nn.Module):
    """Logits of the colour and the shape that the expression names, for an image token.

    Whether a token matches the expression depends on what it shows and on what is named. The vision tower
    provides the first, and this head makes hidden states of image tokens hold the second.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.parts = (len(COLOURS), len(SHAPES))
        self.out = nn.Linear(width, sum(self.parts))

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Hidden states (batch, tokens, width) to logits (batch, tokens, colours) and (…, shapes)."""
        return self.out(self.norm(hidden)).split(self.parts, dim=-1)


def look_loss(head: LookHead, features: torch.Tensor, frames: Sequence[AnnotatedFrame]) -> torch.Tensor:
    """Classification of each vision token, and regression of box edges, without AMBIGUOUS tokens.

    `features` (frames, tokens, width) are the output of the vision tower, with row-major tokens.
    """
    # The object of each token: (frames, rows, columns) -> (frames, tokens)
    owners = torch.from_numpy(_stack(frames)).flatten(1).to(features.device)
    # 1. Classification of all tokens with a clear label, also of those that show no object.
    colour, shape, edges = head(features.flatten(0, 1))  # each (frames * tokens, …)
    known = (owners != AMBIGUOUS).flatten()
    colours, shapes = _shown(frames, owners)
    loss = F.cross_entropy(colour[known], colours.flatten()[known])
    loss = loss + F.cross_entropy(shape[known], shapes.flatten()[known])
    # 2. Regression on the tokens that show an object.
    owned = (owners >= 0).flatten()
    if not owned.any():
        return loss
    truth = _edges(frames, owners).flatten(0, 1)[owned]
    return loss + F.smooth_l1_loss(edges[owned], truth, beta=0.1)


@dataclass(frozen=True)
class TokenMetrics:
    """Metrics of the classification of vision tokens that show an object."""

    colour: float  # accuracy
    shape: float  # accuracy
    edges: float  # mean absolute error of the box edges, in tokens

    def __str__(self) -> str:
        return f"colour {self.colour:.3f}  shape {self.shape:.3f}  edges off by {self.edges:.2f} tokens"


def token_metrics(head: LookHead, features: torch.Tensor, frames: Sequence[AnnotatedFrame]) -> TokenMetrics:
    """The metrics of a head on `features` (frames, tokens, width), with row-major tokens."""
    owners = torch.from_numpy(_stack(frames)).flatten(1).to(features.device)
    owned = (owners >= 0).flatten()
    colour, shape, edges = (part[owned] for part in head(features.flatten(0, 1)))
    colours, shapes = (truth.flatten()[owned] for truth in _shown(frames, owners))
    off = (edges - _edges(frames, owners).flatten(0, 1)[owned]).abs()
    right = [(logits.argmax(-1) == truth).float() for logits, truth in ((colour, colours), (shape, shapes))]
    return TokenMetrics(*(part.mean().item() for part in (*right, off)))


def _shown(frames: Sequence[AnnotatedFrame], owners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes of the colour and of the shape that each token shows, (frames, tokens); the last: no object."""
    colours = _looked_up([[COLOUR_INDEX[thing.colour] for thing in frame.things] for frame in frames], owners)
    shapes = _looked_up([[SHAPE_INDEX[thing.shape] for thing in frame.things] for frame in frames], owners)
    # -1 (no object) becomes the last class.
    colours[colours < 0], shapes[shapes < 0] = len(COLOURS), len(SHAPES)
    return colours, shapes


def _stack(frames: Sequence[AnnotatedFrame]) -> np.ndarray:
    # (frames, rows, columns). All frames of a pool have the same size.
    return np.stack([frame.owner for frame in frames])


def _looked_up(tables: Sequence[Sequence[int]], owners: torch.Tensor) -> torch.Tensor:
    """`tables[row][owner]` for each token (rows, tokens); -1 where no object owns it."""
    # Frames have different numbers of objects, so the tables are padded to the longest.
    most = max(map(len, tables))
    padded = torch.tensor([[*table, *[0] * (most - len(table))] for table in tables], device=owners.device)
    # `gather` takes no negative index: tokens without an owner read entry 0, which is overwritten below.
    found = padded.gather(1, owners.clamp(min=0).long())
    return found.masked_fill(owners < 0, -1)


def _edges(frames: Sequence[AnnotatedFrame], owners: torch.Tensor) -> torch.Tensor:
    """For each token the distances in tokens to the edges of its owner's box, (frames, tokens, 4)."""
    rows, columns = frames[0].owner.shape
    boxes = torch.zeros(*owners.shape, 4)
    for row, frame in enumerate(frames):
        table = torch.tensor([thing.box_resized or (0.0,) * 4 for thing in frame.things])
        # Tokens without an owner read entry 0; both callers select the tokens with an owner.
        boxes[row] = table[owners[row].clamp(min=0).long().cpu()]
    side = frames[0].image.shape[1] / columns  # of a token, in pixels
    # Distances from the middle of a token, positive towards the outside of the box.
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    # (rows, columns, 4) -> (tokens, 4), row-major like the tokens.
    middle = torch.stack([x, y, x, y], dim=-1).flatten(0, 1)
    signs = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    return ((boxes / side - middle) * signs).to(owners.device)


def search_tokens(input_ids: torch.Tensor, image_token: int, count: int) -> torch.Tensor:
    """Positions (batch, count) of the search image's tokens: the last `count` image tokens of each row."""
    # The search image is the last image of a chat, so the tokens of a template come before these.
    return torch.stack([(row == image_token).nonzero()[-count:, 0] for row in input_ids])


def match_loss(head: MatchHead, hidden: torch.Tensor, samples: Sequence[Sample], size: Size) -> torch.Tensor:
    """Binary classification of each token of the search frame, and L1 regression of the target's box.

    `hidden` (batch, tokens, width) are hidden states of the tokens of the search frame, `size` is its
    (width, height). The box is regressed by the tokens that lie on the target.
    """
    logits, boxes = head(hidden.float())  # (batch, tokens, 3), (batch, tokens, 4)
    owners = torch.from_numpy(_stack([sample.frame for sample in samples])).flatten(1).to(hidden.device)
    same_colour = _matches(samples, owners, "colour")
    same_shape = _matches(samples, owners, "shape")
    targets = torch.tensor([NO_OBJECT if s.thing is None else s.thing for s in samples], device=owners.device)
    # 1. On the target or not. An absent target has no tokens: the index of no object is negative.
    on_target = (owners == targets[:, None]) & (owners >= 0)
    known = owners != AMBIGUOUS
    loss = F.binary_cross_entropy_with_logits(
        logits[..., 2][known],
        on_target[known].float(),
        pos_weight=logits.new_tensor(ON_TARGET_WEIGHT),
    )
    # 2. Colour and shape, if the expression names them, on the tokens of all objects.
    for index, matches in enumerate((same_colour, same_shape)):
        if (asked := matches >= 0).any():
            loss = loss + 0.5 * F.binary_cross_entropy_with_logits(
                logits[..., index][asked], matches[asked].float()
            )
    # 3. The box, on the tokens of the target, in shares of the image's sides.
    if not on_target.any():
        return loss
    scale = torch.tensor([*size, *size], device=boxes.device)
    # An absent target has zeros here, but no token of `on_target`.
    truth = torch.tensor([s.box_resized or (0.0,) * 4 for s in samples], device=boxes.device) / scale
    distance = (boxes - truth[:, None]).abs().mean(-1)
    return loss + 4 * distance[on_target].mean()


def _matches(samples: Sequence[Sample], owners: torch.Tensor, attribute: str) -> torch.Tensor:
    """1 where a token's object has the named attribute, 0 where it has not, -1 where none is named."""
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
    """Classification of the named colour and shape; `hidden` (batch, tokens, width) as in `match_loss`."""
    loss = hidden.new_zeros(())
    for logits, attribute, index in zip(
        head(hidden), ("colour", "shape"), (COLOUR_INDEX, SHAPE_INDEX), strict=True
    ):
        named = [getattr(sample.phrase, attribute) for sample in samples]
        # Expressions that name no colour or no shape have no label for it.
        rows = [row for row, name in enumerate(named) if name is not None]
        if rows:
            # Every token of an image has the label of its expression.
            truth = torch.tensor([index[named[row]] for row in rows], device=hidden.device)
            # (rows, tokens, classes) -> (rows * tokens, classes), token by token within a row.
            loss = loss + F.cross_entropy(
                logits[rows].flatten(0, 1), truth.repeat_interleave(hidden.shape[1])
            )
    return loss


# ---- answer tokens ----


class TokenWeights:
    """The weight of each answer token in the loss: by its place in a number, and of visible or absent."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, answers: AnswerFormat, decision_weight: float
    ) -> None:
        def only(text: str) -> int:
            return tokenizer(text, add_special_tokens=False).input_ids[-1]

        self.decisions = torch.tensor([only(answers.visible), only(answers.absent)])
        self.digits = torch.tensor(digit_tokens(tokenizer))
        self.decision_weight = decision_weight

    def __call__(self, labels: torch.Tensor) -> torch.Tensor:
        """Weights (batch, length) of labels (batch, length); 0 if they are IGNORED."""
        weights = (labels != IGNORED).float()
        weights[torch.isin(labels, self.decisions)] = self.decision_weight
        # Walk through the columns and count the digits since the last token that is not a digit.
        place = torch.zeros(len(labels), dtype=torch.long)
        are_digits = torch.isin(labels, self.digits)
        table = torch.tensor(DIGIT_WEIGHTS)
        for column in range(labels.shape[1]):
            now = are_digits[:, column]
            # The fourth digit of a number and later ones weigh as much as the third.
            weights[now, column] = table[place[now].clamp(max=len(DIGIT_WEIGHTS) - 1)]
            place = torch.where(now, place + 1, 0)
        return weights


def weighted_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, soft: SoftLabels | None = None
) -> torch.Tensor:
    """The divergence of the next token from its label, averaged by weight: cross-entropy where it is hard.

    `logits` (batch, kept, vocabulary) are those of the last `kept` positions of the row; `labels` and
    `weights` are (batch, length). The logits at position i predict token i + 1. `soft` are the soft labels of
    the last `kept` - 1 columns; None: all labels are hard.
    """
    kept = logits.shape[1]
    targets, shares = labels[:, -kept + 1 :], weights[:, -kept + 1 :]
    answered = targets != IGNORED
    chosen = logits[:, :-1][answered]  # (answer tokens, vocabulary)
    if soft is None:
        losses = F.cross_entropy(chosen.float(), targets[answered], reduction="none")
    else:
        losses = soft_losses(chosen, targets[answered], soft.of_answers(labels), soft.tokens)
    return (losses * shares[answered]).sum() / shares.sum()
