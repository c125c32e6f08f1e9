"""A scene: its things, how each moves, and when it is away. Everything follows from one seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.world.presets import WorldPreset
from data_prep.world.vocabulary import COLOURS, SHAPE_NAMES

Look = tuple[str, str]  # colour and shape
EXIT_FRAMES = 8  # how long a thing takes to slide out of the picture, and in again


@dataclass(frozen=True)
class Orbit:
    """A smooth closed path: `middle + reach * sin(rate * t + phase)`, in pixels, x and y apart."""

    middle: tuple[float, float]
    reach: tuple[float, float]
    rate: tuple[float, float]
    phase: tuple[float, float]

    def at(self, t: float) -> tuple[float, float]:
        """Position in pixels at frame `t`."""
        x, y = (
            m + r * math.sin(w * t + p)
            for m, r, w, p in zip(self.middle, self.reach, self.rate, self.phase, strict=True)
        )
        return x, y


@dataclass(frozen=True)
class Absence:
    """Frames [start, stop) spent outside the picture; the way out and in again lie inside them."""

    start: int
    stop: int
    direction: tuple[float, float]  # unit vector of the way out
    back_from: tuple[float, float]  # unit vector towards where it comes in again


@dataclass(frozen=True)
class Thing:
    """One drawn thing. `radius` in pixels, `spin` in radians a frame."""

    colour: str
    shape: str
    radius: float
    angle: float
    spin: float
    orbit: Orbit
    absence: Absence | None = None

    def position(self, t: int, far: float) -> tuple[float, float]:
        """Middle in pixels at frame `t`; `far` is a distance in pixels that is surely out of sight."""
        x, y = self.orbit.at(t)
        away = self.absence
        if away is None or not away.start <= t < away.stop:
            return x, y
        leaving = min(1.0, (t - away.start + 1) / EXIT_FRAMES)
        returning = min(1.0, (away.stop - t) / EXIT_FRAMES)
        share, (dx, dy) = min((leaving, away.direction), (returning, away.back_from))
        return x + dx * share * far, y + dy * share * far


@dataclass(frozen=True)
class Scene:
    """Things in painting order, pillars over all of them; `target` is the index of the thing meant."""

    preset: WorldPreset
    seed: int
    things: tuple[Thing, ...]
    pillars: tuple[tuple[float, float], ...]  # left and right edge in pixels
    target: int


def make_scene(seed: int, preset: WorldPreset) -> Scene:
    """Draw a scene from a seed. No two things share both colour and shape, so words decide."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(preset.things[0], preset.things[1] + 1))
    looks = _looks(rng, count, preset)
    target = int(rng.integers(count))
    middles = _spread(rng, count, preset)
    things = tuple(
        _thing(rng, preset, look, middle, is_target=index == target)
        for index, (look, middle) in enumerate(zip(looks, middles, strict=True))
    )
    return Scene(preset, seed, things, _pillars(rng, preset), target)


def _looks(rng: np.random.Generator, count: int, preset: WorldPreset) -> list[Look]:
    """Distinct (colour, shape) pairs, each with a chance to share one of the two with an earlier pair.

    Without that chance no two share either.
    """
    colours, shapes = list(COLOURS), list(SHAPE_NAMES)
    if preset.colours:
        colours = [str(colour) for colour in rng.choice(colours, preset.colours, replace=False)]
    looks: list[Look] = []
    while len(looks) < count:
        colour, shape = str(rng.choice(colours)), str(rng.choice(shapes))
        if looks and rng.random() < preset.look_alikes:
            like = looks[int(rng.integers(len(looks)))]
            colour, shape = (like[0], shape) if rng.random() < 0.5 else (colour, like[1])
        if is_free((colour, shape), looks, preset.look_alikes):
            looks.append((colour, shape))
    return looks


def is_free(look: Look, taken: Sequence[Look], look_alikes: float) -> bool:
    """Whether a look may stand beside others: it is another one, or shares nothing where none may."""
    if look_alikes:
        return look not in taken
    return all(look[0] != other[0] and look[1] != other[1] for other in taken)


def _spread(rng: np.random.Generator, count: int, preset: WorldPreset) -> list[tuple[float, float]]:
    """Middles that keep apart where they can: the best of several draws for each."""
    width, height = preset.size
    margin = preset.radius[1] * height * 1.1
    middles: list[tuple[float, float]] = []
    for _ in range(count):
        draws = rng.uniform((margin, margin), (width - margin, height - margin), (8, 2))
        gaps = [min((math.dist(draw, other) for other in middles), default=0.0) for draw in draws]
        x, y = draws[int(np.argmax(gaps))]
        middles.append((float(x), float(y)))
    return middles


def _thing(
    rng: np.random.Generator,
    preset: WorldPreset,
    look: Look,
    middle: tuple[float, float],
    is_target: bool,
) -> Thing:
    height = preset.size[1]
    reach = rng.uniform(0.05, 0.25, 2) * height if preset.moving else np.zeros(2)
    rate = rng.uniform(0.03, 0.12, 2) * rng.choice((-1, 1), 2)
    phase = rng.uniform(0, 2 * math.pi, 2)
    return Thing(
        colour=look[0],
        shape=look[1],
        radius=float(rng.uniform(*preset.radius)) * height,
        angle=float(rng.uniform(-0.3, 0.3)),
        spin=float(rng.uniform(-0.02, 0.02)) if preset.moving else 0.0,
        orbit=Orbit(middle, _pair(reach), _pair(rate), _pair(phase)),
        absence=_absence(rng, preset) if is_target else None,
    )


def _pair(values: np.ndarray) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _absence(rng: np.random.Generator, preset: WorldPreset) -> Absence | None:
    """When the target is away: from the start (late), in the middle, or never."""
    kind = rng.random()
    length = int(preset.frames * rng.uniform(0.3, 0.5))
    out, back = rng.uniform(0, 2 * math.pi, 2)
    directions = (math.cos(out), math.sin(out)), (math.cos(back), math.sin(back))
    if kind < preset.late:
        return Absence(-EXIT_FRAMES, length, *directions)
    if kind < preset.late + preset.absence:
        start = int(rng.integers(preset.frames // 4, max(preset.frames // 4 + 1, preset.frames - length)))
        return Absence(start, start + length, *directions)
    return None


def _pillars(rng: np.random.Generator, preset: WorldPreset) -> tuple[tuple[float, float], ...]:
    width = preset.size[0]
    count = int(rng.integers(preset.pillars + 1))
    lefts = rng.uniform(0.1, 0.85, count) * width
    widths = rng.uniform(0.05, 0.1, count) * width
    return tuple((float(left), float(left + wide)) for left, wide in zip(lefts, widths, strict=True))
