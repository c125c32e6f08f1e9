"""What expressions are made of: words for sizes, relations and motions, and what an expression says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from data_prep.world.arrangement import Shown
from data_prep.world.scene import Scene
from data_prep.world.vocabulary import COLOUR_WORDS, SHAPES, Look, draw_look

SIZES = {"big": ("big", "large"), "small": ("small", "little")}
RELATIONS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above",),
    "below": ("below", "under"),
    "near": ("next to", "near"),
}
MOTIONS = {
    "left": ("moving to the left", "going left"),
    "right": ("moving to the right", "going right"),
    "up": ("moving up",),
    "down": ("moving down",),
    "spins": ("spinning",),
    "drifts": ("drifting",),
}
HEADING = ("left", "right", "up", "down")
SHARED = {"colour": 0.4, "shape": 0.1, "both": 0.35, "nothing": 0.15}
"""What an absent look shares with the things that are present; both: with two different things."""


@dataclass(frozen=True)
class Expression:
    """An expression: its text, its kind, and the colour and shape that it names (None: it does not)."""

    text: str
    kind: str
    colour: str | None
    shape: str | None


class HasLook(Protocol):
    """What expressions for absent targets need to know of a thing."""

    @property
    def colour(self) -> str:
        """One of `COLOURS`."""
        ...

    @property
    def shape(self) -> str:
        """One of `SHAPES`."""
        ...

    @property
    def pattern(self) -> str:
        """One of `PATTERNS`; empty: unknown."""
        ...


Meant = tuple[Scene, int] | None  # the thing to refer to; None: something that is absent


def plainly(colour: str, shape: str) -> str:
    """The simplest expression for a thing: the most common words, always in the same order."""
    return f"the {COLOUR_WORDS[colour][0]} {SHAPES[shape][0]}"


def absent_look(rng: np.random.Generator, things: Sequence[HasLook]) -> Look:
    """Draw a colour and shape that no thing has together; `SHARED` says what they share with the things."""
    # Colours and shapes of present things, in a fixed order: the order of a set differs between runs.
    looks = {(thing.colour, thing.shape) for thing in things}
    colours, shapes = ([look[part] for look in sorted(looks)] for part in (0, 1))
    while True:
        shared = str(rng.choice(list(SHARED), p=list(SHARED.values())))
        colour, shape = draw_look(rng)
        colour = pick(rng, colours) if shared in ("colour", "both") else colour
        shape = pick(rng, shapes) if shared in ("shape", "both") else shape
        if (colour, shape) not in looks:
            return colour, shape


def usual(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    """Usually the most common word."""
    return words[0] if rng.random() < 0.7 else pick(rng, words)


def pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    """One of the options, each with the same probability."""
    return options[int(rng.integers(len(options)))]


class Said(NamedTuple):
    """What an expression is about, and how it is drawn."""

    rng: np.random.Generator
    things: Sequence[HasLook]
    meant: Meant
    frame: Shown | None
    look: Look

    def members(self, part: str) -> list[int]:
        """Numbers of all things with the colour or the shape of the look; `none`: of all things."""
        look = self.named(part)
        return [
            number
            for number, thing in enumerate(self.things)
            if look[0] in (None, thing.colour) and look[1] in (None, thing.shape)
        ]

    def named(self, part: str) -> tuple[str | None, str | None]:
        """The colour and the shape of the look, of which `part` is named."""
        return (self.look[0] if part == "colour" else None), (self.look[1] if part == "shape" else None)

    def parts(self, *others: str) -> list[str]:
        """Colour and shape, and `others`, in a random order."""
        parts = ["colour", "shape", *others]
        return [parts[int(number)] for number in self.rng.permutation(len(parts))]

    def name(self, part: str) -> str:
        """A word for what is meant: a word for its shape, `red thing`, or `one`."""
        colour, shape = self.words()
        noun = "one" if self.rng.random() < 0.5 else "thing"
        return {"colour": f"{colour} {noun}", "shape": shape, "none": noun}[part]

    def words(self) -> tuple[str, str]:
        """A word for the colour, and one for the shape."""
        return usual(self.rng, COLOUR_WORDS[self.look[0]]), usual(self.rng, SHAPES[self.look[1]])


Told = tuple[str, tuple[str | None, str | None]] | None  # the text, and the colour and shape that it names


def plural(name: str) -> str:
    """`stars` for `star`, `clouds of smoke` for both `cloud of smoke` and `smoke`."""
    if name == "smoke":
        return "clouds of smoke"
    head, of, rest = name.partition(" of ")
    return head + ("es" if head.endswith(("s", "x", "sh")) else "s") + of + rest


def with_article(rng: np.random.Generator, templates: tuple[str, ...], shape: str, **words: str) -> str:
    """A template with a shape and its indefinite article; smoke has none."""
    article = "an" if shape[0] in "aeiou" else "a"
    text = pick(rng, templates).format(a=article, shape=shape, **words)
    return text.replace("a smoke", "smoke")
