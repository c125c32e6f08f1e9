"""How things and the camera move: smooth functions of the frame number."""

import math
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]  # x, y in pixels
EXIT_FRAMES = 10  # frames that a thing takes to its place of absence, and back


@dataclass(frozen=True)
class Wave:
    """A sine over time: `reach * sin(rate * t + phase)`."""

    reach: float
    rate: float  # radians a frame
    phase: float

    def at(self, t: float) -> float:
        """The value at frame `t`, between `-reach` and `reach`."""
        return self.reach * math.sin(self.rate * t + self.phase)


STILL = Wave(0.0, 0.0, 0.0)


def draw_wave(rng: np.random.Generator, reach: float, rates: tuple[float, float]) -> Wave:
    """A wave with a random phase and a random rate between the two `rates`, in radians per frame."""
    return Wave(reach, float(rng.uniform(*rates)), float(rng.uniform(0, 2 * math.pi)))


@dataclass(frozen=True)
class Path:
    """A straight way from `start` to `stop` over `frames` frames, with a wave added to each coordinate."""

    start: Point
    stop: Point
    frames: int
    swing: tuple[Wave, Wave]

    def at(self, t: float) -> Point:
        """Position in pixels of the world at frame `t`."""
        # Linear in time; a video of one frame stays at the start.
        share = t / max(1, self.frames - 1)
        x, y = (
            first + (last - first) * share + wave.at(t)
            for first, last, wave in zip(self.start, self.stop, self.swing, strict=True)
        )
        return x, y


@dataclass(frozen=True)
class Absence:
    """An absence from frame `start` to `stop`: the thing moves to `out`, stays away, and returns from `back`.

    Points are in pixels of the world.
    """

    start: int
    stop: int
    out: Point
    back: Point

    def moved(self, t: float, place: Point) -> Point:
        """The position at frame `t` of a thing that would be at `place` without the absence."""
        # Outside of the absence the thing follows its own path.
        if not self.start < t < self.stop:
            return place
        leaving, returning = t - self.start, self.stop - t
        # How far it is away: it rises over the first frames of the absence and falls over the last.
        gone = min(1.0, leaving / EXIT_FRAMES, returning / EXIT_FRAMES)
        weight = gone * gone * (3 - 2 * gone)  # smoothstep: starts and stops without a jerk
        # In the middle of the absence, when it is farthest away, it changes from `out` to `back`.
        aim = self.out if leaving < returning else self.back
        return place[0] + (aim[0] - place[0]) * weight, place[1] + (aim[1] - place[1]) * weight


@dataclass(frozen=True)
class View:
    """The camera at one frame. It maps a point of the world to `zoom * R (point - middle) + middle + shift`,
    where `R` is a rotation by `roll` radians.
    """

    zoom: float
    shift: Point
    middle: Point
    roll: float = 0.0

    def seen(self, point: Point) -> Point:
        """A point of the world in pixels of the image."""
        dx, dy = point[0] - self.middle[0], point[1] - self.middle[1]
        cos, sin = math.cos(self.roll), math.sin(self.roll)
        return (
            self.zoom * (cos * dx - sin * dy) + self.middle[0] + self.shift[0],
            self.zoom * (sin * dx + cos * dy) + self.middle[1] + self.shift[1],
        )

    def matrix(self, origin: Point = (0.0, 0.0)) -> np.ndarray:
        """The same as a matrix for OpenCV, float64 (2, 3), for an image whose pixel (0, 0) is at `origin`."""
        # The map from source to image, as `cv2.warpAffine` takes it; the last column is where the source's
        # pixel (0, 0) lands.
        x, y = self.seen(origin)
        cos, sin = self.zoom * math.cos(self.roll), self.zoom * math.sin(self.roll)
        return np.array([[cos, -sin, x], [sin, cos, y]], np.float64)


@dataclass(frozen=True)
class Camera:
    """A slow pan and zoom, and a fast, small shake; and sometimes a rotation (`roll`, radians)."""

    middle: Point
    pan: tuple[Wave, Wave]
    shake: tuple[Wave, Wave]
    zoom: Wave
    roll: Wave = STILL

    def at(self, t: float) -> View:
        """The view at frame `t`."""
        # Pan and shake add up; the zoom is around the middle of the image.
        dx, dy = (pan.at(t) + shake.at(t) for pan, shake in zip(self.pan, self.shake, strict=True))
        return View(1.0 + self.zoom.at(t), (dx, dy), self.middle, self.roll.at(t))
