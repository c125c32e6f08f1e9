"""What stands in front of the things of a scene: posts, walls and bushes."""

from dataclasses import dataclass

import numpy as np

from data_prep.world.paths import Point
from data_prep.world.presets import WorldPreset


@dataclass(frozen=True)
class Occluder:
    """A post, wall or bush in front of all things, in pixels of the world."""

    kind: str
    middle: Point
    half: Point  # half its width and height
    seed: int


def draw_occluder(rng: np.random.Generator, preset: WorldPreset) -> Occluder:
    """A post from top to bottom, a low wall, or a bush at the bottom."""
    width, height = preset.size
    kind = str(rng.choice(("post", "wall", "bush")))
    x = float(rng.uniform(0.1, 0.9)) * width
    if kind == "post":
        # It exceeds the image by a quarter of its height at both ends, so a pan does not show them.
        y, half = height / 2, (float(rng.uniform(0.02, 0.045)) * width, 0.75 * height)
    else:
        half = float(rng.uniform(0.06, 0.12)) * width, float(rng.uniform(0.15, 0.28)) * height
        y = height - 0.6 * half[1]
    return Occluder(kind, (x, y), half, int(rng.integers(2**31)))


def hiding_place(rng: np.random.Generator, preset: WorldPreset, radius: float) -> tuple[Occluder, Point]:
    """A wall or bush just large enough to hide a thing of this radius completely, and the point behind it."""
    width, height = preset.size
    wall = rng.random() < 0.6
    # A bush is not a full rectangle, so it must be larger.
    half = radius * (1.65 if wall else 2.0)
    x = float(rng.uniform(half, width - half)) if half * 2 < width else width / 2
    y = float(rng.uniform(0.35, 0.75)) * height
    top, bottom = y - half, y + half
    if wall:  # it stands on the ground
        bottom = 1.12 * height
    occluder = Occluder(
        "wall" if wall else "bush",
        (x, (top + bottom) / 2),
        (half, (bottom - top) / 2),
        int(rng.integers(2**31)),
    )
    return occluder, (x, y)
