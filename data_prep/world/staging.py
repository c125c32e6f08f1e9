"""How a scene of the footage look is staged: things that rest beside each other, and visitors.

Visitors are arms that reach for a thing, and people that walk through the image or stand in it.
"""

import math
from dataclasses import dataclass

import numpy as np

from data_prep.world.paths import STILL, Camera, Path, Point, Wave, draw_wave
from data_prep.world.presets import WorldPreset

REACHING = 14  # frames that an arm takes to its place, and back
ALWAYS_THERE = 10_000  # frames before and after the video, of visitors that never come or go
ARM, PERSON = "arm", "person"
RESTING = 0.55  # share of things that lie still
BESIDE = 0.4  # share of things that lie beside an earlier one, if there is one that lies still


@dataclass(frozen=True)
class Visitor:
    """An arm or a person, in pixels of the world. It is no thing, so no expression refers to it.

    An arm comes from `root`, outside the image, pauses at the place `spot` from the centre of thing number
    `thing`, and goes back. A person walks along `path`, which is that of the middle of its body.
    """

    kind: str
    behind: bool  # behind all things, else in front of them
    start: int  # first and last frame of the visit
    stop: int
    root: Point
    thing: int
    spot: Point
    path: Path
    size: float  # width of the palm, or height of the person
    seed: int

    def reach(self, t: float) -> float:
        """How far an arm has come to its place at frame `t`: 0 to 1."""
        share = min(1.0, (t - self.start) / REACHING, (self.stop - t) / REACHING)
        share = max(0.0, share)
        return share * share * (3 - 2 * share)  # smoothstep: starts and stops without a jerk


def resting_places(
    rng: np.random.Generator, middles: list[Point], radii: np.ndarray, size: tuple[int, int]
) -> list[Point | None]:
    """Where things lie still, some of them beside an earlier one; None: this thing moves as it would."""
    places: list[Point | None] = []
    for index, middle in enumerate(middles):
        if rng.random() >= RESTING:
            places.append(None)
            continue
        # Beside an earlier thing: from a clear overlap to a small gap.
        others = [other for other, place in enumerate(places) if place is not None]
        if others and rng.random() < BESIDE / RESTING:
            other = others[int(rng.integers(len(others)))]
            near = places[other]
            assert near is not None
            far, around = float(rng.uniform(0.75, 1.15)), float(rng.uniform(0, 2 * math.pi))
            far *= float(radii[index] + radii[other])
            x, y = near[0] + far * math.cos(around), near[1] + far * math.sin(around)
            margin = float(radii[index])
            middle = (
                min(max(x, margin), size[0] - margin),
                min(max(y, margin), size[1] - margin),
            )
        places.append(middle)
    return places


def rolling(rng: np.random.Generator, camera: Camera) -> Wave:
    """The rotation of a camera, radians; a camera that stands still does not rotate."""
    if camera.pan == (STILL, STILL):
        return STILL
    return draw_wave(rng, float(rng.uniform(0, 0.05)), (0.01, 0.07))


def draw_visitors(
    rng: np.random.Generator, preset: WorldPreset, frames: int, num_things: int
) -> tuple[Visitor, ...]:
    """The visitors of a scene: none in 45 % of the scenes."""
    visitors: list[Visitor] = []
    if rng.random() < 0.4:
        # Two arms in many cases, since hands come in pairs.
        arms = int(rng.choice((1, 2, 3), p=(0.5, 0.4, 0.1)))
        visitors += [_arm(rng, preset, frames, num_things) for _ in range(arms)]
    if rng.random() < 0.25:
        people = int(rng.choice((1, 2), p=(0.7, 0.3)))
        visitors += [_person(rng, preset, frames) for _ in range(people)]
    return tuple(visitors)


def _arm(rng: np.random.Generator, preset: WorldPreset, frames: int, num_things: int) -> Visitor:
    width, height = preset.size
    # 1. It comes from below most often, as the arms of the person who holds the camera.
    side, along = str(rng.choice(("below", "above", "left", "right"), p=(0.4, 0.3, 0.15, 0.15))), rng.random()
    far = 0.45 * height
    root = {
        "below": (along * width, height + far),
        "above": (along * width, -far),
        "left": (-far, along * height),
        "right": (width + far, along * height),
    }[side]
    # 2. A third of the arms are there in the whole video, the others for a part of it.
    start, stop = -ALWAYS_THERE, ALWAYS_THERE
    if rng.random() > 0.33:
        length = int(frames * rng.uniform(0.35, 0.8)) + 2 * REACHING
        start = int(rng.integers(-REACHING, max(1, frames - length // 2)))
        stop = start + length
    # 3. Its place relative to a thing, in pixels: often over a part of it.
    size = float(rng.uniform(0.11, 0.26)) * height
    spot = tuple((rng.standard_normal(2) * 0.7 * size).tolist())
    path = Path((0.0, 0.0), (0.0, 0.0), frames, (_sway(rng, 0.25 * size), _sway(rng, 0.25 * size)))
    return Visitor(ARM, False, start, stop, root, int(rng.integers(num_things)), spot, path, size, _seed(rng))


def _person(rng: np.random.Generator, preset: WorldPreset, frames: int) -> Visitor:
    width, height = preset.size
    size = float(rng.uniform(0.5, 1.3)) * height
    # The feet are below the middle of the image, or outside of it where the person is large.
    y = float(rng.uniform(0.75, 1.15)) * height - 0.5 * size + max(0.0, 0.25 * (size - height))
    x = float(rng.uniform(0.05, 0.95)) * width
    start, stop = (x, y), (x, y)
    # Half of them walk from one side to the other, the others stay where they are.
    if rng.random() < 0.5:
        ends = [(-0.3 * size, y), (width + 0.3 * size, y)]
        start, stop = ends if rng.random() < 0.5 else ends[::-1]
    path = Path(start, stop, frames, (_sway(rng, 0.03 * size), _sway(rng, 0.03 * size)))
    behind = bool(rng.random() < 0.6)
    return Visitor(
        PERSON, behind, -ALWAYS_THERE, ALWAYS_THERE, (0.0, 0.0), 0, (0.0, 0.0), path, size, _seed(rng)
    )


def _sway(rng: np.random.Generator, reach: float) -> Wave:
    return draw_wave(rng, reach, (0.03, 0.15))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
