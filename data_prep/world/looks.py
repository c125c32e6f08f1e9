"""Which colours and shapes the things of a scene have."""

import numpy as np

from data_prep.world.vocabulary import AMORPHOUS, COLOURS, SHAPES

Look = tuple[str, str]  # colour and shape
AMORPHOUS_SHARE = 0.13
ALIKE = 0.4  # share of the other things that are drawn as look-alikes of an earlier one


def draw_looks(rng: np.random.Generator, count: int, target: int, look_alikes: int) -> list[Look]:
    """Distinct looks. Of the `look_alikes` first drawn for the target, every other shares its colour.

    The rest share the target's shape, so that two look-alikes make one of each.
    """
    meant = draw_look(rng)
    others: list[Look] = []
    while len(others) < count - 1:
        colour, shape = draw_look(rng)
        if len(others) < look_alikes:
            colour, shape = _alike(meant, (colour, shape), same_colour=len(others) % 2 == 0)
        elif look_alikes and rng.random() < ALIKE:
            like = [meant, *others][int(rng.integers(len(others) + 1))]
            colour, shape = _alike(like, (colour, shape), same_colour=rng.random() < 0.5)
        if (colour, shape) not in (meant, *others):
            others.append((colour, shape))
    order = [others[int(index)] for index in rng.permutation(count - 1)]
    return [*order[:target], meant, *order[target:]]


def draw_look(rng: np.random.Generator) -> Look:
    """Any colour and shape; shapes without an outline are rarer."""
    fixed = [shape for shape in SHAPES if shape not in AMORPHOUS]
    shapes = AMORPHOUS if rng.random() < AMORPHOUS_SHARE else fixed
    return str(rng.choice(list(COLOURS))), str(rng.choice(shapes))


def _alike(like: Look, drawn: Look, same_colour: bool) -> Look:
    return (like[0], drawn[1]) if same_colour else (drawn[0], like[1])
