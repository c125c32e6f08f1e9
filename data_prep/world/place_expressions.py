"""Expressions by place and size: superlatives, ordinals, beside a thing, between two things."""

from data_prep.world.arrangement import only_between, only_relations, ranks, superlatives
from data_prep.world.phrases import RELATIONS, Said, Told, absent_look, pick, plainly, plural

SUPERLATIVE = (
    "the {word} {name}",
    "the {word} {name}",
    "the {name} that is {word}",
    "the {word} of the {names}",
)
OUTERMOST = {
    "left": ("leftmost",),
    "right": ("rightmost",),
    "top": ("topmost", "highest"),
    "bottom": ("lowest",),
    "big": ("biggest", "largest"),
    "small": ("smallest",),
}
ORDINAL = ("the {number} {name} from the {side}",)
# The shares below are those among present things, so that absent ones are spoken of in the same way.
SIDE_SHARES = {"left": 0.22, "right": 0.22, "top": 0.17, "bottom": 0.17, "big": 0.11, "small": 0.11}
NUMBERS = {2: "second", 3: "third"}
THIRD_SHARE = 0.1
RELATION_SHARES = {"left": 0.29, "right": 0.25, "above": 0.22, "below": 0.2, "near": 0.04}
NAMELESS_SHARE = 0.05  # share of "the one above the red ball" among such expressions
BESIDE = ("the {name} {relation} {other}", "the {name} that is {relation} {other}")
BETWEEN = ("the {name} between {one} and {other}", "the {name} that is between {one} and {other}")


def superlative(said: Said) -> Told:
    """The outermost or the biggest of at least two things of one shape or colour."""
    for part in said.parts():
        members = said.members(part)
        if said.meant is None:
            true = [] if members else [_by_share(said, SIDE_SHARES)]
        else:
            true = superlatives(*said.meant, members, said.frame)
        if true:
            word, name = pick(said.rng, OUTERMOST[pick(said.rng, true)]), said.name(part)
            text = pick(said.rng, SUPERLATIVE).format(word=word, name=name, names=plural(name))
            return text, said.named(part)
    return None


def ordinal(said: Said) -> Told:
    """The second or third of the things of one shape or colour, counted from a side."""
    for part in said.parts():
        members = said.members(part)
        if said.meant is None:
            number = 3 if said.rng.random() < THIRD_SHARE else 2
            side = pick(said.rng, ("left", "right", "top", "bottom"))
            true = [(number, side)] if len(members) < number else []
        else:
            true = ranks(*said.meant, members, said.frame, max(NUMBERS))
        if true:
            number, side = true[int(said.rng.integers(len(true)))]
            words = {"number": NUMBERS[number], "name": said.name(part), "side": side}
            return pick(said.rng, ORDINAL).format(**words), said.named(part)
    return None


def landmark(said: Said) -> Told:
    """The only thing, or the only one of its colour or shape, in a place beside another thing.

    Of an absent target: nothing has its colour or shape, or the other thing is absent too.
    """
    for part in _parts(said):
        if said.meant is None:
            other, relation = _others(said, part, 1)[0], _by_share(said, RELATION_SHARES)
        else:
            true = only_relations(*said.meant, said.members(part), said.frame)
            if not true:
                continue
            number, relation = true[int(said.rng.integers(len(true)))]
            other = plainly(said.things[number].colour, said.things[number].shape)
        words = {"name": said.name(part), "relation": pick(said.rng, RELATIONS[relation]), "other": other}
        return pick(said.rng, BESIDE).format(**words), said.named(part)
    return None


def between(said: Said) -> Told:
    """The only thing, or the only one of its colour or shape, between two others."""
    for part in _parts(said):
        if said.meant is None:
            if len(said.things) < 2:
                return None
            ends = _others(said, part, 2)
        else:
            true = only_between(*said.meant, said.members(part), said.frame)
            if not true:
                continue
            pair = said.rng.permutation(true[int(said.rng.integers(len(true)))])
            ends = [plainly(said.things[int(each)].colour, said.things[int(each)].shape) for each in pair]
        text = pick(said.rng, BETWEEN).format(name=said.name(part), one=ends[0], other=ends[1])
        return text, said.named(part)
    return None


def _parts(said: Said) -> list[str]:
    """The parts of a look to name, `none` first where nothing needs to be named.

    That is seldom true of present things, and said as seldom of absent ones.
    """
    first = said.meant is not None or said.rng.random() < NAMELESS_SHARE
    return ["none", *said.parts()] if first else said.parts()


def _by_share(said: Said, shares: dict[str, float]) -> str:
    return str(said.rng.choice(list(shares), p=list(shares.values())))


def _others(said: Said, part: str, count: int) -> list[str]:
    """Names of the things beside which an absent target is said to be."""
    rng = said.rng
    numbers = rng.permutation(len(said.things))[:count]
    names = [plainly(said.things[int(each)].colour, said.things[int(each)].shape) for each in numbers]
    # If something has the colour or shape that is named, one of these things must be absent.
    if said.members(part):
        look = absent_look(rng, said.things)
        names[int(rng.integers(count))] = plainly(*look)
    return names
