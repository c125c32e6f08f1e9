"""Questions with known answers about shots of the rendered world."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.geometry import Box, enlarge, jittered
from data_prep.world.expressions import Expression, absent, absent_look, plainly
from data_prep.world.vocabulary import Look
from models.interfaces import Question
from train.scratch.frame_pool import AnnotatedFrame

OWN_MISS = 0.3  # of the questions about nothing: the thing exists and is out of sight, where one is
STRANGER_TRIES = 12  # things of other shots looked at for one that shares a colour
STRANGE_COLOUR = 0.2  # of the templates of strangers: of any colour


@dataclass(frozen=True)
class QuestionMix:
    """Shares of the kinds of question, each between 0 and 1."""

    absent: float = 0.35  # the words name nothing that can be seen
    template: float = 0.4
    marked: float = 0.4  # of the pictures: a rectangle is drawn around where something was last seen
    missed: float = 0.2  # of the marked: the rectangle is somewhere else
    focus: float = 0.6  # of the questions about a marked picture: about the thing that was marked
    plain: bool = False  # only the plainest words


@dataclass(frozen=True, eq=False)
class Sample:
    """A question about a shot and its answer: the index of the thing meant, None where it is absent."""

    question: Question
    frame: AnnotatedFrame
    phrase: Expression
    thing: int | None

    @property
    def box_resized(self) -> Box | None:
        """The answer's box in pixels of the shot's image, None where the target is absent."""
        return None if self.thing is None else self.frame.things[self.thing].box_resized

    @property
    def others(self) -> tuple[Box, ...]:
        """Boxes of everything else that is seen, to tell which thing an answer is on."""
        things = self.frame.things
        return tuple(
            thing.box_resized
            for index, thing in enumerate(things)
            if index != self.thing and thing.box_resized is not None
        )


def sample_questions(
    rng: np.random.Generator, shots: Sequence[AnnotatedFrame], count: int, mix: QuestionMix
) -> list[Sample]:
    """`count` questions about each shot, those of a shot side by side. They share its picture."""
    samples = []
    for shot in shots:
        asker = _Asker(rng, shot, shots, mix)
        samples += [asker.ask() for _ in range(count)]
    return samples


class _Asker:
    """Questions about one shot among others; the others lend what is not in this one."""

    def __init__(
        self,
        rng: np.random.Generator,
        shot: AnnotatedFrame,
        shots: Sequence[AnnotatedFrame],
        mix: QuestionMix,
    ) -> None:
        self.rng, self.frame, self.shots, self.mix = rng, shot, shots, mix
        self.clear = [index for index, thing in enumerate(shot.things) if thing.clear]
        self.focus = self._pick(self.clear) if self.clear and rng.random() < mix.marked else None
        self.last_box = None if self.focus is None else self._last_box(self.focus)

    def ask(self) -> Sample:
        with_template = self.rng.random() < self.mix.template
        if not self.clear or self.rng.random() < self.mix.absent:
            return self._about_nothing(with_template)
        marked = self.focus is not None and self.rng.random() < self.mix.focus
        index = self.focus if marked else self._pick(self.clear)
        assert index is not None
        template = self.frame.templates[index] if with_template else None
        return self._sample(self._phrase(self.frame, index), template, index)

    def _about_nothing(self, with_template: bool) -> Sample:
        """Words, and perhaps a template, of something that cannot be seen in the shot."""
        hidden = [index for index, thing in enumerate(self.frame.things) if thing.box_resized is None]
        if hidden and self.rng.random() < OWN_MISS:
            index = self._pick(hidden)
            template = self.frame.templates[index] if with_template else None
            return self._sample(self._phrase(self.frame, index), template, None)
        if with_template and (stranger := self._stranger()):
            shot, index = stranger
            thing = shot.things[index]
            return self._sample(self._missing((thing.colour, thing.shape)), shot.templates[index], None)
        return self._sample(self._missing(absent_look(self.rng, self.frame.things)), None, None)

    def _missing(self, look: Look) -> Expression:
        """Words for a look that nothing here has, of a kind in which something here is spoken of.

        Were kinds of words commoner for what is absent, they would tell that it is.
        """
        if self.mix.plain:
            return _plainest(*look)
        like = self.frame.things[self._pick(range(len(self.frame.things)))]
        return absent(self.rng, self.frame.things, look, self._pick_phrase(like.phrases).kind)

    def _stranger(self) -> tuple[AnnotatedFrame, int] | None:
        """A thing of another shot, with a template, that this one has not.

        Mostly one of a colour that something here has: a thing of a strange colour is told at once.
        """
        looks = {(thing.colour, thing.shape) for thing in self.frame.things}
        colours = {colour for colour, _ in looks}
        any_will_do = self.rng.random() < STRANGE_COLOUR
        found = None
        for _ in range(STRANGER_TRIES):
            shot = self.shots[self._pick(range(len(self.shots)))]
            index = self._pick(range(len(shot.things)))
            thing = shot.things[index]
            if shot.templates[index] is None or (thing.colour, thing.shape) in looks:
                continue
            found = shot, index
            if any_will_do or thing.colour in colours:
                break
        return found

    def _sample(self, phrase: Expression, template: np.ndarray | None, thing: int | None) -> Sample:
        question = Question(self.frame.image, phrase.text, template, self.last_box)
        return Sample(question, self.frame, phrase, thing)

    def _phrase(self, shot: AnnotatedFrame, index: int) -> Expression:
        thing = shot.things[index]
        if self.mix.plain:
            return _plainest(thing.colour, thing.shape)
        return self._pick_phrase(thing.phrases)

    def _last_box(self, index: int) -> Box:
        """Where a thing was a few frames ago, inexactly; sometimes somewhere else altogether."""
        box = self.frame.things[index].box_resized
        assert box is not None, "a clear thing has a box"
        height, width = self.frame.image.shape[:2]
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        if self.rng.random() < self.mix.missed:
            x, y = self.rng.uniform((0, 0), (width, height))
        half_width, half_height = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
        moved = (x - half_width, y - half_height, x + half_width, y + half_height)
        left, top, right, bottom = enlarge(jittered(self.rng, moved, 0.3), 1.0, (width, height))
        return left, top, max(right, left + 2), max(bottom, top + 2)

    def _pick(self, indices: Sequence[int]) -> int:
        return int(indices[int(self.rng.integers(len(indices)))])

    def _pick_phrase(self, phrases: Sequence[Expression]) -> Expression:
        """One of the phrases; all kinds among them alike, or the rare ones would be learned badly."""
        kinds = sorted({phrase.kind for phrase in phrases})
        kind = kinds[self._pick(range(len(kinds)))]
        fitting = [phrase for phrase in phrases if phrase.kind == kind]
        return fitting[self._pick(range(len(fitting)))]


def _plainest(colour: str, shape: str) -> Expression:
    return Expression(plainly(colour, shape), "attribute", colour, shape)
