"""What people say for a thing of a scene."""

import numpy as np

from data_prep.world.scene import Thing
from data_prep.world.vocabulary import PHRASES, SHAPE_NAMES


def refer(rng: np.random.Generator, colour: str, shape: str) -> str:
    """One of the ways to refer to a thing of this colour and shape."""
    name = str(rng.choice(SHAPE_NAMES[shape]))
    return str(rng.choice(PHRASES)).format(colour=colour, shape=name)


def plainly(colour: str, shape: str) -> str:
    """The plainest way to refer to a thing: always the same word for a shape, always in the same place."""
    return PHRASES[0].format(colour=colour, shape=SHAPE_NAMES[shape][0])


def prompts_for(thing: Thing, count: int) -> tuple[str, ...]:
    """The first `count` different prompts that refer to a thing, the plainest first."""
    names = SHAPE_NAMES[thing.shape]
    texts = [
        phrase.format(colour=thing.colour, shape=names[index % len(names)])
        for index, phrase in enumerate(PHRASES)
    ]
    return tuple(dict.fromkeys(texts))[:count]
