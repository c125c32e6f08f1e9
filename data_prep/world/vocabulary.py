"""What things of the rendered world look like, and what people call them."""

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
"""Colour to its prototype, RGB; each thing's own colour lies near it."""

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
"""Colour to the words for it, the commonest first."""

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
"""Shape to the words for it, the commonest first."""

AMORPHOUS = ("smoke", "flock", "blob")
"""Shapes without a fixed outline."""

SPINNABLE = ("box", "triangle", "star", "cross", "heart", "moon")
"""Shapes whose turning can be seen."""

PATTERNS: dict[str, tuple[str, ...]] = {"plain": (), "striped": ("striped",), "dotted": ("dotted",)}
"""Pattern to the words for it; a plain thing's pattern is not spoken of."""
