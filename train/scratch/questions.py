"""Questions with known answers about frames of the rendered world.

A question about an absent target must not be recognisable by its wording or its template: its expression is
of a kind that could refer to an object of the frame, and it mostly names a colour that the frame shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.geometry import Box, enlarge, jittered
from data_prep.world.expressions import absent_as
from data_prep.world.phrases import Expression, absent_look, plainly
from data_prep.world.rich_expressions import FRAME_KINDS
from data_prep.world.vocabulary import Look
from models.interfaces import Question
from train.scratch.annotated_frames import AnnotatedFrame

HIDDEN_SHARE = 0.3  # share of absent targets that are an object of the scene which the frame does not show
MAX_TRIES = 12  # objects of other frames that are examined for one with a colour of this frame
LOOK_TRIES = 24  # absent looks that are tried for an expression of one kind
ANY_COLOUR_SHARE = 0.2  # share of templates from other frames that may have any colour


@dataclass(frozen=True)
class QuestionMix:
    """Shares of the kinds of questions, each between 0 and 1."""

    absent: float = 0.35  # of questions: the target is not visible
    template: float = 0.4  # of questions: with a template
    marked: float = 0.4  # of frames: with a visual prompt around the last box of an object
    missed: float = 0.2  # of visual prompts: somewhere else
    focus: float = 0.6  # of questions with a visual prompt: about the object in it
    plain: bool = False  # only the simplest expressions


@dataclass(frozen=True, eq=False)
class Sample:
    """A question about a frame, and its answer: the index of the target in `frame.things`, None if absent."""

    question: Question
    frame: AnnotatedFrame
    phrase: Expression
    thing: int | None

    @property
    def box_resized(self) -> Box | None:
        """The target's box in pixels of the frame's image, None if the target is absent."""
        return None if self.thing is None else self.frame.things[self.thing].box_resized

    @property
    def others(self) -> tuple[Box, ...]:
        """Boxes of all other visible objects."""
        things = self.frame.things
        return tuple(
            thing.box_resized
            for index, thing in enumerate(things)
            if index != self.thing and thing.box_resized is not None
        )


def sample_questions(
    rng: np.random.Generator, frames: Sequence[AnnotatedFrame], count: int, mix: QuestionMix
) -> list[Sample]:
    """Sample `count` questions about each frame, one frame after the other. They share its image."""
    samples = []
    for frame in frames:
        sampler = _QuestionSampler(rng, frame, frames, mix)
        samples += [sampler.sample() for _ in range(count)]
    return samples


class _QuestionSampler:
    """Samples questions about one frame; objects of the other frames serve as absent targets."""

    def __init__(
        self,
        rng: np.random.Generator,
        frame: AnnotatedFrame,
        frames: Sequence[AnnotatedFrame],
        mix: QuestionMix,
    ) -> None:
        self.rng, self.frame, self.frames, self.mix = rng, frame, frames, mix
        # Only clear objects are asked about; the last box is the same for all questions about a frame, so
        # that the image with its rectangle is encoded once.
        self.clear = [index for index, thing in enumerate(frame.things) if thing.clear]
        self.focus = self._pick(self.clear) if self.clear and rng.random() < mix.marked else None
        self.last_box = None if self.focus is None else self._last_box(self.focus)

    def sample(self) -> Sample:
        with_template = self.rng.random() < self.mix.template
        if not self.clear or self.rng.random() < self.mix.absent:
            return self._absent_sample(with_template)
        # Questions about a marked frame are mostly, but not always, about the object in the rectangle: the
        # model must still read the expression.
        marked = self.focus is not None and self.rng.random() < self.mix.focus
        index = self.focus if marked else self._pick(self.clear)
        assert index is not None
        template = self.frame.templates[index] if with_template else None
        return self._sample(self._phrase(self.frame, index), template, index)

    def _absent_sample(self, with_template: bool) -> Sample:
        """A question about a target that the frame does not show."""
        # 1. An object of the same scene that is hidden or has left.
        kind = None
        hidden = [index for index, thing in enumerate(self.frame.things) if thing.box_resized is None]
        if hidden and self.rng.random() < HIDDEN_SHARE:
            index = self._pick(hidden)
            template = self.frame.templates[index] if with_template else None
            hidden_phrase = self._phrase(self.frame, index)
            if hidden_phrase.kind not in FRAME_KINDS:
                return self._sample(hidden_phrase, template, None)
            # Another object may be the leftmost one now. The kind remains, so that it is as frequent as among
            # objects that are there.
            kind = hidden_phrase.kind
        # 2. With a template, an object of another frame; without one, a combination of colour and shape that
        #    no object has. Not every kind of expression can be said of every absent look, so others are
        #    tried.
        for _ in range(LOOK_TRIES):
            other = self._object_of_other_frame() if with_template else None
            if other:
                frame, index = other
                thing, template = frame.things[index], frame.templates[index]
                look = (thing.colour, thing.shape)
            else:
                look, template = absent_look(self.rng, self.frame.things), None
            kind = kind or self._absent_kind()
            phrase = self._absent_phrase(look, kind)
            if phrase is not None:
                return self._sample(phrase, template, None)
        return self._sample(_plainest(*look), template, None)

    def _absent_phrase(self, look: Look, kind: str) -> Expression | None:
        """An expression of a kind for a look that no object here has; None where none is possible."""
        return _plainest(*look) if self.mix.plain else absent_as(self.rng, self.frame.things, look, kind)

    def _absent_kind(self) -> str:
        """A kind of expression that fits an object here.

        If some kind of expression were more common for absent targets, it would give the answer away.
        """
        if self.mix.plain:
            return "attribute"
        like = self.frame.things[self._pick(range(len(self.frame.things)))]
        return self._pick_phrase(like.phrases).kind

    def _object_of_other_frame(self) -> tuple[AnnotatedFrame, int] | None:
        """An object of another frame, with a template, that looks like none of this frame.

        Mostly one with a colour that this frame shows: other colours would be too easy.
        """
        looks = {(thing.colour, thing.shape) for thing in self.frame.things}
        colours = {colour for colour, _ in looks}
        any_colour = self.rng.random() < ANY_COLOUR_SHARE
        found = None
        for _ in range(MAX_TRIES):
            frame = self.frames[self._pick(range(len(self.frames)))]
            index = self._pick(range(len(frame.things)))
            thing = frame.things[index]
            if frame.templates[index] is None or (thing.colour, thing.shape) in looks:
                continue
            # Kept in case no later try has a colour of this frame.
            found = frame, index
            if any_colour or thing.colour in colours:
                break
        return found

    def _sample(self, phrase: Expression, template: np.ndarray | None, thing: int | None) -> Sample:
        question = Question(self.frame.image, phrase.text, template, self.last_box)
        return Sample(question, self.frame, phrase, thing)

    def _phrase(self, frame: AnnotatedFrame, index: int) -> Expression:
        thing = frame.things[index]
        if self.mix.plain:
            return _plainest(thing.colour, thing.shape)
        return self._pick_phrase(thing.phrases)

    def _last_box(self, index: int) -> Box:
        """The last box of an object, imprecise; with the probability `mix.missed` somewhere else."""
        box = self.frame.things[index].box_resized
        assert box is not None, "a clear thing has a box"
        height, width = self.frame.image.shape[:2]
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        if self.rng.random() < self.mix.missed:
            x, y = self.rng.uniform((0, 0), (width, height))
        # The box at the new centre, jittered, within the image and at least two pixels wide.
        half_width, half_height = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
        moved = (x - half_width, y - half_height, x + half_width, y + half_height)
        left, top, right, bottom = enlarge(jittered(self.rng, moved, 0.3), 1.0, (width, height))
        return left, top, max(right, left + 2), max(bottom, top + 2)

    def _pick(self, indices: Sequence[int]) -> int:
        # `rng.choice` would convert the indices to an array first, which is slower.
        return int(indices[int(self.rng.integers(len(indices)))])

    def _pick_phrase(self, phrases: Sequence[Expression]) -> Expression:
        """One of the expressions, each kind with the same probability, so that rare kinds are trained too."""
        # Sorted, since the order of a set of texts differs between processes.
        kinds = sorted({phrase.kind for phrase in phrases})
        kind = kinds[self._pick(range(len(kinds)))]
        fitting = [phrase for phrase in phrases if phrase.kind == kind]
        return fitting[self._pick(range(len(fitting)))]


def _plainest(colour: str, shape: str) -> Expression:
    return Expression(plainly(colour, shape), "attribute", colour, shape)
