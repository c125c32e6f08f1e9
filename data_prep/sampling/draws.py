"""Drawing pairs: arithmetic on arrays of random numbers, for thousands of pairs at once.

Only additions, multiplications and comparisons of float64 are used. They give the same result on every
machine, so the pairs of a seed do too.

The pairs follow VPTracker (https://github.com/jcwang0602/VPTracker): a template, a frame to search in which a
rectangle is drawn around where the target may be, and an expression.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_prep.sampling.settings import PairSettings
from data_prep.sampling.source import Source
from data_prep.sequence import ABSENT, PRESENT

NUMBERS = 24  # random numbers that a pair is drawn from
NO_EXPRESSION = NO_COLOUR = -1


@dataclass(frozen=True, eq=False)
class Draws:
    """n pairs of one index; frames and expressions are numbered through the index.

    The template frame is one of the target's video, which for a `negative` pair is another than
    the search frame's; so is the expression (`NO_EXPRESSION`: its video has none).
    `visible`: the search frame shows the target that is meant. Boxes are float32 (n, 4), in the coordinates
    of the data set's files: `template_xywh`, and `search_xywh` with zeros where the target is not visible.
    `visual_prompt_xyxy` is the rectangle to draw, inside the frame, and `holds` says whether the centre of
    the target lies in it. `colour` is the position of its colour in the list of the settings, `NO_COLOUR`
    where that list is empty; `width` is its line width as a multiple of the contract's.
    """

    sequence: np.ndarray  # of the search frame, int32
    search: np.ndarray
    template: np.ndarray
    template_sequence: np.ndarray
    expression: np.ndarray
    visible: np.ndarray
    negative: np.ndarray
    template_xywh: np.ndarray
    search_xywh: np.ndarray
    visual_prompt_xyxy: np.ndarray
    holds: np.ndarray
    colour: np.ndarray
    width: np.ndarray


def draw(source: Source, random: np.ndarray, settings: PairSettings) -> Draws:
    """Draw n pairs from random numbers (n, `NUMBERS`), float64 from 0 to below 1.

    Each part of a pair has its own columns of `random`, so a setting changes only the part that it is about:
    0 sequence; 1, 2 search frame; 3, 4 template frame; 5, 7, 8 another target; 6 whether the pair is
    negative; 8 expression; 9 to 21 rectangle; 22 its colour; 23 its line width.
    """
    u, boxes = random.T, source.index.boxes_xywh  # u: (NUMBERS, n); boxes: (F, 4)
    # 1. A sequence, one of its frames to search, and a frame near it that shows the target: the template.
    sequence = draw_sequences(source, random)
    search, shown = _search_frames(source, sequence, u[1], u[2], settings.visible)
    seen_at = _near(source, sequence, search, u[3], u[4], settings)
    own = _Target(sequence, seen_at, _true_expressions(source, sequence, search, u[8]))
    # 2. For a negative pair, the target of another sequence in its place. A pair stays positive where the
    #    other target has no expression or one that is also said of this sequence: it might be right.
    other = _another_target(source, sequence, u[5], u[7], u[8])
    negative = (u[6] < settings.negative) & _says_another_thing(source, other, sequence)
    meant = _Target(*(np.where(negative, *both) for both in zip(other, own, strict=True)))
    visible = shown & ~negative
    # 3. The rectangle, around the target of the search frame, or around its nearest place where it is absent.
    #    It is drawn in negative pairs too, else its absence would give the answer away.
    around = boxes[np.where(shown, search, seen_at)]
    visual_prompt_xyxy = _rectangles(around, source.index.sizes[sequence], u[9:22], settings)
    return Draws(
        sequence=sequence,
        search=search,
        template=meant.frame,
        template_sequence=meant.sequence,
        expression=meant.expression,
        visible=visible,
        negative=negative,
        template_xywh=boxes[meant.frame],
        search_xywh=np.where(visible[:, None], boxes[search], np.float32(0)),
        visual_prompt_xyxy=visual_prompt_xyxy.astype(np.float32),
        holds=_hold(visual_prompt_xyxy, boxes[search]) & visible,
        colour=_below(u[22], len(settings.prompt_colours)) if settings.prompt_colours else _no_colour(u[22]),
        width=settings.prompt_width_from + u[23] * (settings.prompt_width_to - settings.prompt_width_from),
    )


def draw_sequences(source: Source, random: np.ndarray) -> np.ndarray:
    """The sequence of each pair's search frame, int32 (n,), as `draw` chooses it."""
    return source.usable[_below(random[:, 0], len(source.usable))]


def _no_colour(like: np.ndarray) -> np.ndarray:
    return np.full(len(like), NO_COLOUR)


class _Target(NamedTuple):
    """The targets that are meant: their sequences, a frame that shows each, and an expression; (n,) each."""

    sequence: np.ndarray
    frame: np.ndarray
    expression: np.ndarray


def _another_target(
    source: Source, sequence: np.ndarray, which: np.ndarray, frame: np.ndarray, expression: np.ndarray
) -> _Target:
    """A target of another sequence for each pair; of the same sequence where there is no other.

    `which`, `frame` and `expression` are the random numbers that choose them.
    """
    donor = _others(source, sequence, which)
    shows = _any_shown(source, donor, frame)
    return _Target(donor, shows, _true_expressions(source, donor, shows, expression))


def _below(u: np.ndarray, count: np.ndarray | int) -> np.ndarray:
    """Whole numbers from 0 to below `count`, which is at least 1.

    The minimum is needed because `u * count` can be rounded up to `count`.
    """
    return np.minimum((u * count).astype(np.int64), np.asarray(count) - 1)


def _search_frames(
    source: Source, sequence: np.ndarray, kind: np.ndarray, which: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """A frame of each sequence, and whether it shows the target.

    `share` of the frames show it, where a sequence has frames of both kinds. `kind` and `which` are random.
    """
    # A sequence in which the target is never absent has only frames that show it.
    first, stop = source.range_of(ABSENT, sequence)
    shown = (kind < share) | (first == stop)
    frames = _any_shown(source, sequence, which)
    hidden = source.frames[ABSENT]
    if len(hidden):
        # Places are also computed for pairs that do not use them, so they are kept inside the array.
        places = np.minimum(first + _below(which, np.maximum(stop - first, 1)), len(hidden) - 1)
        frames = np.where(shown, frames, hidden[places])
    return frames, shown


def _any_shown(source: Source, sequence: np.ndarray, which: np.ndarray) -> np.ndarray:
    """A frame of each sequence that shows its target."""
    first, stop = source.range_of(PRESENT, sequence)
    return source.frames[PRESENT][first + _below(which, stop - first)]


def _near(
    source: Source,
    sequence: np.ndarray,
    search: np.ndarray,
    far: np.ndarray,
    side: np.ndarray,
    settings: PairSettings,
) -> np.ndarray:
    """A frame that shows the target, near the search frame but another one where there is another.

    Where the target is visible all the time, distances follow the settings `gap` and `gap_power`. Else it is
    the nearest following frame that shows the target, or the last one of the sequence. `far` and `side` are
    random.
    """
    # 1. On which side: in proportion to the frames that there are on each, at most `gap`.
    starts = source.index.starts
    before = np.minimum(search - starts[sequence], settings.gap)
    after = np.minimum(starts[sequence + 1] - 1 - search, settings.gap)
    earlier = side * (before + after) < before
    # 2. How far: never beyond the end of the video. If such distances were cut off at the end instead, its
    #    first and last frames would be drawn too often. A power above 1 makes short distances more frequent.
    room = np.where(earlier, before, after)
    gap = np.minimum(1 + _below(np.multiply.reduce([far] * settings.gap_power), np.maximum(room, 1)), room)
    aim = search + np.where(earlier, -gap, gap)
    # 3. The first frame from there on that shows the target; its neighbour if that is the search frame.
    first, stop = source.range_of(PRESENT, sequence)
    place = np.minimum(source.before[PRESENT][aim], stop - 1)
    frames = source.frames[PRESENT]
    again = frames[place] == search
    place = np.where(again, np.where(place + 1 < stop, place + 1, np.maximum(place - 1, first)), place)
    return frames[place]


def _others(source: Source, sequence: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Another sequence for each, chosen evenly among all others; the same one where there is no other."""
    count = len(source.usable)
    own = np.searchsorted(source.usable, sequence)
    # Going round the list of usable sequences by 1 to count - 1 places never ends at the same one.
    step = 1 + _below(which, max(count - 1, 1)) if count > 1 else np.zeros_like(own)
    return source.usable[(own + step) % count]


def _true_expressions(
    source: Source, sequence: np.ndarray, frame: np.ndarray, which: np.ndarray
) -> np.ndarray:
    """The number in the index of an expression that is true of each frame; `NO_EXPRESSION` where none is."""
    index = source.index
    first, stop = index.expression_starts[sequence], index.expression_starts[sequence + 1]
    count = stop - first
    if not len(index.expression_spans):
        return np.full(len(sequence), NO_EXPRESSION)
    local = frame - index.starts[sequence]
    offset = _below(which, np.maximum(count, 1))
    # Start at a random expression of the sequence and take the first one that is true of the frame. Each turn
    # tries one expression for all pairs at once, so there are as many turns as a sequence has expressions.
    expression = np.full(len(sequence), NO_EXPRESSION)
    for turn in range(int(count.max(initial=0))):
        tried = np.minimum(first + (offset + turn) % np.maximum(count, 1), len(index.expression_spans) - 1)
        spans = index.expression_spans[tried]
        fits = (turn < count) & (spans[:, 0] <= local) & (local < spans[:, 1])
        expression = np.where((expression == NO_EXPRESSION) & fits, tried, expression)
        if (expression != NO_EXPRESSION).all():
            break
    return expression


def _says_another_thing(source: Source, target: _Target, sequence: np.ndarray) -> np.ndarray:
    """Whether a target is of another sequence, has an expression, and no expression of `sequence`
    equals it.
    """
    index, codes = source.index, source.expression_codes
    first, stop = index.expression_starts[sequence], index.expression_starts[sequence + 1]
    expression = target.expression
    another = (expression != NO_EXPRESSION) & (target.sequence != sequence)
    if not len(codes):
        return another
    # Compare with each expression of the sequence in turn, for all pairs at once.
    said = codes[np.maximum(expression, 0)]
    for turn in range(int((stop - first).max(initial=0))):
        own = codes[np.minimum(first + turn, len(codes) - 1)]
        another = another & ((first + turn >= stop) | (own != said))
    return another


def _rectangles(
    around_xywh: np.ndarray, sizes: np.ndarray, u: np.ndarray, settings: PairSettings
) -> np.ndarray:
    """Rectangles (n, 4) xyxy around boxes (n, 4) or elsewhere, clipped to frames of `sizes` (n, 2).

    `u` (13, n) are random numbers. The rectangle stands for what a tracker believes: it is drawn around an
    inexact box, in a random size, not centred, and in a share of the pairs in a wrong place.
    """
    box, size = around_xywh.astype(np.float64), sizes.astype(np.float64)
    low, side = box[:, :2], box[:, 2:]  # (n, 2) each
    # 1. Jitter: each side of the box moves by a share of its length, as with a predicted box.
    shifted = low + settings.prompt_jitter * (2 * u[0:2].T - 1) * side
    ends = low + side + settings.prompt_jitter * (2 * u[2:4].T - 1) * side
    side = np.maximum(ends - shifted, 1)
    middle = (shifted + ends) / 2
    # 2. Scale the box up, and push it aside by at most as much as keeps the box inside.
    scale = settings.prompt_scale_from + u[4] * (settings.prompt_scale_to - settings.prompt_scale_from)
    half = side * scale[:, None] / 2
    middle += settings.prompt_shift * (2 * u[5:7].T - 1) * np.maximum(half - side / 2, 0)
    # 3. A miss: the rectangle lies anywhere in the frame, but not over the target. A place too near to it is
    #    moved by half the frame.
    missed = u[7] < settings.prompt_miss
    away = u[8:10].T * size
    target = (box[:, :2] * 2 + box[:, 2:]) / 2
    too_near = (np.abs(away - target) < half).all(axis=1)
    away = np.where(too_near[:, None], (away + size / 2) % size, away)
    middle = np.where(missed[:, None], away, middle)
    # 4. Clip to the frame. The centre may lie near the border, so that only a part remains.
    low, high = np.clip(middle - half, 0, size), np.clip(middle + half, 0, size)
    return np.concatenate([low, high], axis=1)


def _hold(xyxy: np.ndarray, boxes_xywh: np.ndarray) -> np.ndarray:
    """Whether the centres of boxes (n, 4) lie in rectangles (n, 4), bool (n,)."""
    middle = boxes_xywh[:, :2] + boxes_xywh[:, 2:] / 2
    inside = (xyxy[:, :2] <= middle) & (middle < xyxy[:, 2:])
    return inside[:, 0] & inside[:, 1]
