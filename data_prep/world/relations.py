"""What is true of a thing in a scene: its size compared with the others, its motion, its place beside others.

Expressions use only what clearly holds, by the thresholds below.
"""

import math
from functools import lru_cache

import numpy as np

from data_prep.world.scene import FAST_SPIN, Scene
from data_prep.world.vocabulary import AMORPHOUS, SPINNABLE

NUM_SAMPLES = 24  # frames of a video that are examined
MOSTLY = 0.85  # smallest share of them in which a relation must hold
CLEARLY = 1.25  # a big thing is at least this many times as big as the mean of the others


def size_of(scene: Scene, index: int) -> str | None:
    """`big` or `small` where a thing is in the biggest or smallest third and clearly differs; else None."""
    radii = np.array([thing.radius for thing in scene.things])
    # Both conditions: among the biggest (or smallest) third, and clearly different from the mean of the
    # others.
    rank, third = int((radii > radii[index]).sum()), len(radii) / 3
    others = float(np.delete(radii, index).mean())
    if rank < third and radii[index] > CLEARLY * others:
        return "big"
    if rank >= len(radii) - third and radii[index] * CLEARLY < others:
        return "small"
    return None


def relations_of(scene: Scene, index: int) -> list[tuple[int, str]]:
    """Pairs of another thing and a relation (left, right, above, below, near) that holds in most
    frames with both.
    """
    places, shown = trajectories(scene)
    true = []
    for other in range(len(scene.things)):
        # Relations are judged in the frames with both things, of which there must be enough.
        both = shown[:, index] & shown[:, other]
        if other == index or both.sum() < NUM_SAMPLES / 4:
            continue
        holds = relations_between(places[both, index], places[both, other])
        true += [(other, relation) for relation, where in holds.items() if where.mean() >= MOSTLY]
    return true


def relations_between(
    one: np.ndarray, other: np.ndarray, apart: float = 0.7, slant: float = 0.6, far: float = 1.8
) -> dict[str, np.ndarray]:
    """Which relations hold between one thing and another, bool (frames,) each.

    `one` and `other` are their places (frames, 3: x, y, radius). A smaller distance `apart` and `slant`, and
    a larger distance `far`, make the relations weaker: they also hold where they are not clear.
    """
    x, y, _ = (one - other).T
    reach = one[:, 2] + other[:, 2]
    gap = np.hypot(x, y)
    # Distances are compared with the sum of both radii, so that large things need more distance.
    return {
        "left": (x < -apart * reach) & (-x > slant * abs(y)),
        "right": (x > apart * reach) & (x > slant * abs(y)),
        "above": (y < -apart * reach) & (-y > slant * abs(x)),
        "below": (y > apart * reach) & (y > slant * abs(x)),
        "near": (gap < far * reach) & (gap > 0.5 * reach),
    }


def motions_of(scene: Scene, index: int) -> list[str]:
    """The motions of a thing: left, right, up or down; spins; drifts (only things without an outline)."""
    places, shown = trajectories(scene)
    track = places[shown[:, index], index]
    if len(track) < NUM_SAMPLES * 0.65:  # it is absent too long to describe where it goes
        return []
    # Compare the mean positions in the first and the last third: single frames would be too noisy.
    third = len(track) // 3
    dx, dy, _ = (track[-third:].mean(axis=0) - track[:third].mean(axis=0)) / scene.preset.size[1]
    motions = []
    along, across, names = (dx, dy, ("left", "right")) if abs(dx) > abs(dy) else (dy, dx, ("up", "down"))
    # The motion must be large, mostly along one axis, and in most steps in the same direction.
    steps = np.diff(track[:, 0 if abs(dx) > abs(dy) else 1]) * np.sign(along)
    if abs(along) > 0.3 and abs(along) > 2 * abs(across) and (steps > 0).mean() > 0.75:
        motions.append(names[int(along > 0)])
    thing = scene.things[index]
    if thing.shape in SPINNABLE and abs(thing.spin) >= FAST_SPIN:
        motions.append("spins")
    if thing.shape in AMORPHOUS and np.ptp(track[:, :2], axis=0).max() > 0.15 * scene.preset.size[1]:
        motions.append("drifts")
    return motions


@lru_cache(maxsize=16)
def trajectories(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Places (frames, things, 3: x, y, radius in pixels), and whether each thing is in the image
    and not absent.
    """
    width, height = scene.preset.size
    times = [math.floor(t) for t in np.linspace(0, scene.frames - 1, NUM_SAMPLES)]
    places = np.array(
        [[scene.place(index, t) for index in range(len(scene.things))] for t in times], np.float64
    )
    away = [
        [any(absence.start < t < absence.stop for absence in thing.absences) for thing in scene.things]
        for t in times
    ]
    x, y = places[..., 0], places[..., 1]
    return places, (x > 0) & (x < width) & (y > 0) & (y < height) & ~np.array(away)
