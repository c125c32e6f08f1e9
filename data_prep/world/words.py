"""What people say for a thing of a scene, and words that name nothing in it."""

import numpy as np

from data_prep.world.scene import Scene, Thing
from data_prep.world.vocabulary import COLOURS, PHRASES, SHAPE_NAMES


def refer(rng: np.random.Generator, colour: str, shape: str) -> str:
    """One of the ways to refer to a thing of this colour and shape."""
    name = str(rng.choice(SHAPE_NAMES[shape]))
    return str(rng.choice(PHRASES)).format(colour=colour, shape=name)


def prompts_for(thing: Thing, count: int) -> tuple[str, ...]:
    """The first `count` different prompts that refer to a thing, the plainest first."""
    names = SHAPE_NAMES[thing.shape]
    texts = [
        phrase.format(colour=thing.colour, shape=names[index % len(names)])
        for index, phrase in enumerate(PHRASES)
    ]
    return tuple(dict.fromkeys(texts))[:count]


def hard_negative(rng: np.random.Generator, scene: Scene) -> str:
    """Words that share the colour or the shape with things of the scene but name none of them."""
    present = {(thing.colour, thing.shape) for thing in scene.things}
    like = scene.things[int(rng.integers(len(scene.things)))]
    while True:
        colour, shape = like.colour, like.shape
        if rng.random() < 0.5:
            colour = str(rng.choice(list(COLOURS)))
        else:
            shape = str(rng.choice(list(SHAPE_NAMES)))
        if (colour, shape) not in present:
            return refer(rng, colour, shape)
