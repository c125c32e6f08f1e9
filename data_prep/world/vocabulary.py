"""Colours, shapes and patterns of the rendered world, the words for them, and the looks of a
scene's things.
"""

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (212, 36, 40),
    "orange": (245, 128, 20),
    "yellow": (246, 216, 44),
    "green": (44, 165, 60),
    "cyan": (52, 206, 216),
    "blue": (40, 76, 214),
    "purple": (136, 50, 176),
    "pink": (245, 136, 190),
    "white": (243, 243, 240),
    "black": (24, 24, 28),
}
"""The prototype of each colour, RGB. The colour of a thing is near that of its name."""

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "amber"),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "cyan": ("cyan", "turquoise"),
    "blue": ("blue", "cobalt"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rosy"),
    "white": ("white", "snowy"),
    "black": ("black", "ebony"),
}
"""The words for each colour, the most common first."""

SHAPES: dict[str, tuple[str, ...]] = {
    "ball": ("ball", "disc", "orb"),
    "box": ("box", "square", "cube"),
    "triangle": ("triangle", "wedge"),
    "star": ("star",),
    "cross": ("cross", "plus sign"),
    "ring": ("ring", "hoop", "donut"),
    "heart": ("heart",),
    "moon": ("moon", "crescent"),
    "smoke": ("smoke", "cloud of smoke", "puff"),
    "flock": ("flock", "swarm", "flock of birds"),
    "blob": ("blob", "puddle", "splash"),
}
"""The words for each shape, the most common first."""

AMORPHOUS = ("smoke", "flock", "blob")
"""Shapes without a fixed outline."""

SPINNABLE = ("box", "triangle", "star", "cross", "heart", "moon")
"""Shapes whose rotation is visible."""

PATTERNS: dict[str, tuple[str, ...]] = {"plain": (), "striped": ("striped",), "dotted": ("dotted",)}
"""The words for each pattern. The pattern of a plain thing is not mentioned."""


Look = tuple[str, str]  # colour and shape
AMORPHOUS_SHARE = 0.13
ALIKE = 0.4  # share of the other things that look like an earlier one in colour or shape


def draw_looks(rng: np.random.Generator, count: int, target: int, look_alikes: int) -> list[Look]:
    """Distinct looks for `count` things, that of the target at index `target`.

    `look_alikes` of the others share the target's colour or its shape in turn, so two of them are one of
    each.
    """
    # 1. The look of the target, and others until there are enough; repeated looks are drawn again.
    meant = draw_look(rng)
    others: list[Look] = []
    while len(others) < count - 1:
        colour, shape = draw_look(rng)
        # The required look-alikes come first; later ones appear by chance, also of other things.
        if len(others) < look_alikes:
            colour, shape = _alike(meant, (colour, shape), same_colour=len(others) % 2 == 0)
        elif look_alikes and rng.random() < ALIKE:
            like = [meant, *others][int(rng.integers(len(others) + 1))]
            colour, shape = _alike(like, (colour, shape), same_colour=rng.random() < 0.5)
        if (colour, shape) not in (meant, *others):
            others.append((colour, shape))
    # 2. A random order, with the target at its index.
    order = [others[int(index)] for index in rng.permutation(count - 1)]
    return [*order[:target], meant, *order[target:]]


def draw_look(rng: np.random.Generator) -> Look:
    """A random colour and shape. Shapes without a fixed outline are less frequent."""
    fixed = [shape for shape in SHAPES if shape not in AMORPHOUS]
    shapes = AMORPHOUS if rng.random() < AMORPHOUS_SHARE else fixed
    return str(rng.choice(list(COLOURS))), str(rng.choice(shapes))


def _alike(like: Look, drawn: Look, same_colour: bool) -> Look:
    return (like[0], drawn[1]) if same_colour else (drawn[0], like[1])
