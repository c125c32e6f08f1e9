"""Expressions with more words: superlatives, ordinals, negation, patterns, places, counts, "the one that …".

Each is true of the thing that is meant and of no other thing of the scene. Where a target is absent, the same
forms are used, and nothing in the scene fits them: a form that is always true of something, like "the
leftmost thing", is not used, since it could not be said of an absent target.
"""

from collections.abc import Sequence

import numpy as np

from data_prep.world import relations
from data_prep.world.arrangement import Shown, all_shown
from data_prep.world.phrases import Expression, HasLook, Meant, Said, Told, pick, plural, usual, with_article
from data_prep.world.place_expressions import between, landmark, ordinal, superlative
from data_prep.world.vocabulary import AMORPHOUS, COLOUR_WORDS, SHAPES, SPINNABLE, Look

RICH_KINDS: dict[str, float] = {
    "superlative": 0.14,
    "ordinal": 0.08,
    "negation": 0.1,
    "patterned": 0.08,
    "one_that": 0.06,
    "landmark": 0.06,
    "between": 0.04,
    "count": 0.04,
}
"""The kinds of expressions of this module, and how often each is drawn where it is possible."""

FRAME_KINDS = ("superlative", "ordinal")
"""Kinds that fit another thing in a frame that does not show the one that is meant."""

NOT_COLOUR = (
    "the {shape} that is not {colour}",
    "the {shape} which is not {colour}",
    "the {shape}, not the {colour} one",
)
NOT_SHAPE = ("the {colour} thing that is not {a} {shape}", "the {colour} one, not the {shape}")
PATTERNED = {
    "none": ("the one that is {word}", "the {word} one", "the one with {parts}", "the thing with {parts}"),
    "colour": (
        "the {colour} one with {parts}",
        "the {colour} thing that is {word}",
        "the {word} {colour} one",
    ),
    "shape": ("the {shape} with {parts}", "the {shape} that is {word}", "the {word} {shape}"),
}
PARTS = {"striped": ("striped", "stripes"), "dotted": ("dotted", "dots")}
IS_COLOUR = ("the one that is {colour}", "the thing that is {colour}")
IS_SHAPE = ("the one that is {a} {shape}", "the thing that is {a} {shape}")
DOES = {
    "left": ("moves to the left", "goes left"),
    "right": ("moves to the right", "goes right"),
    "up": ("moves up",),
    "down": ("moves down",),
    "spins": ("spins",),
    "drifts": ("drifts",),
}
COUNTED = ("the {colour} one of the {number} {shapes}",)
THREE_SHARE = 0.3
COUNTS = {2: "two", 3: "three"}


def rich_expression(
    rng: np.random.Generator,
    things: Sequence[HasLook],
    meant: Meant,
    kind: str,
    look: Look,
    frame: Shown | None = None,
) -> Expression | None:
    """An expression of a kind of `RICH_KINDS`; None where none is true.

    `meant` is None for a `look` that is absent, else the thing that has it. The expression must also hold in
    `frame`, if one is given.
    """
    said = Said(rng, things, meant, frame, look)
    tell = {
        "superlative": superlative,
        "ordinal": ordinal,
        "negation": _negation,
        "patterned": _patterned,
        "one_that": _one_that,
        "landmark": landmark,
        "between": between,
        "count": _count,
    }[kind]
    found = tell(said)
    return None if found is None else Expression(found[0], kind, *found[1])


def _negation(said: Said) -> Told:
    """The only thing of a shape that has not a certain colour, or the other way round.

    The other colour is that of another thing of this shape; without one, of any other thing. What is denied
    is not given as named: the auxiliary losses would take it for what the target looks like.
    """
    for part in said.parts():
        which = 0 if part == "shape" else 1  # the part of the look that is denied
        others = [number for number in said.members(part) if said.meant is None or number != said.meant[1]]
        if len(others) > 1:
            continue
        # Of a thing of the same shape or colour, if there is one: then the denied word decides.
        deniable = [(thing.colour, thing.shape)[which] for thing in (said.things[each] for each in others)]
        if not others:
            deniable = [(thing.colour, thing.shape)[which] for thing in said.things]
            deniable = [look for look in deniable if look != said.look[which]]
        if not deniable:
            continue
        denied, (colour, shape) = pick(said.rng, deniable), said.words()
        if part == "shape":
            text = pick(said.rng, NOT_COLOUR).format(
                shape=shape, colour=usual(said.rng, COLOUR_WORDS[denied])
            )
        else:
            text = with_article(said.rng, NOT_SHAPE, usual(said.rng, SHAPES[denied]), colour=colour)
        return text, said.named(part)
    return None


def _patterned(said: Said) -> Told:
    """The only striped or dotted thing: of all, or of its colour or shape."""
    if said.meant is None:
        pattern = pick(said.rng, list(PARTS))
    else:
        pattern = said.meant[0].things[said.meant[1]].pattern
    if pattern not in PARTS:
        return None
    for part in said.parts("none"):
        others = [number for number in said.members(part) if said.meant is None or number != said.meant[1]]
        # A pattern may be unknown.
        alike = any(said.things[number].pattern in (pattern, "") for number in others)
        # Things without an outline have no pattern: such words would only be said of absent ones.
        if alike or (part == "shape" and said.look[1] in AMORPHOUS):
            continue
        (word, parts), (colour, shape) = PARTS[pattern], said.words()
        words = {"word": word, "parts": parts, "colour": colour, "shape": shape}
        return pick(said.rng, PATTERNED[part]).format(**words), said.named(part)
    return None


def _one_that(said: Said) -> Told:
    """The one that has the colour or shape, or the thing of that colour or shape with its motion.

    Colour or shape decide, since a single frame does not show motion.
    """
    for part in said.parts():
        if len(said.members(part)) > (said.meant is not None):
            continue
        colour, shape = said.words()
        motions = _motions(said) if said.rng.random() < 0.5 else []
        if motions:
            text = f"the {said.name(part)} that {pick(said.rng, DOES[pick(said.rng, motions)])}"
        elif part == "colour":
            text = pick(said.rng, IS_COLOUR).format(colour=colour)
        else:
            text = with_article(said.rng, IS_SHAPE, shape)
        return text, said.named(part)
    return None


def _motions(said: Said) -> list[str]:
    if said.meant is not None:
        return relations.motions_of(*said.meant)
    # As often as present things have one, and only motions that such a thing can have.
    if said.rng.random() < 0.4:
        return []
    possible = {"spins": said.look[1] in SPINNABLE, "drifts": said.look[1] in AMORPHOUS}
    return [motion for motion in DOES if possible.get(motion, True)]


def _count(said: Said) -> Told:
    """The red one of the two stars."""
    members, shape = said.members("shape"), said.words()[1]
    if said.meant is None:
        count = 3 if said.rng.random() < THREE_SHARE else 2  # as often as of present things
    else:
        count = len(members)
        if count not in COUNTS or not all_shown(*said.meant, members, said.frame):
            return None
    words = {"colour": said.words()[0], "number": COUNTS[count], "shapes": plural(shape)}
    return pick(said.rng, COUNTED).format(**words), said.look
