"""A scene: its things, how each moves, and when the target is absent. Everything follows from one seed."""

import math
from dataclasses import dataclass, replace

import numpy as np

from data_prep.world.occluders import Occluder, draw_occluder, hiding_place
from data_prep.world.paths import EXIT_FRAMES, STILL, Absence, Camera, Path, Point, Wave, draw_wave
from data_prep.world.presets import WorldPreset
from data_prep.world.staging import Visitor, draw_visitors, resting_places, rolling
from data_prep.world.vocabulary import AMORPHOUS, PATTERNS, SPINNABLE, Look, draw_looks

ALWAYS, LEAVES, LATE, HIDES, NEVER = "always", "leaves", "late", "hides", "never"
FOREVER = 1_000_000  # frames; longer than any video
COVER = 1.75  # radius, in radii of a thing, of a circle that contains all of it
FAST_SPIN = 0.07  # radians per frame from which expressions say that a thing spins


@dataclass(frozen=True)
class Thing:
    """One drawn thing. `radius` is in pixels, `spin` in radians per frame; `seed` decides details
    of its look.
    """

    colour: str
    shape: str
    pattern: str
    radius: float
    angle: float
    spin: float
    path: Path
    growth: Wave  # logarithm of the scale
    stretch: Wave  # logarithm of width over height, halved
    seed: int
    absences: tuple[Absence, ...] = ()

    def at(self, t: float) -> Point:
        """Its centre at frame `t`, in pixels of the world."""
        place = self.path.at(t)
        for absence in self.absences:
            place = absence.moved(t, place)
        return place

    def scale(self, t: float) -> float:
        """The factor on its radius at frame `t`."""
        return math.exp(self.growth.at(t))


@dataclass(frozen=True)
class Scene:
    """The content of a video: things in drawing order, occluders in front of them; `target` is the
    target's index.
    """

    preset: WorldPreset
    seed: int
    frames: int
    things: tuple[Thing, ...]
    target: int
    absence: str  # how the target is absent: always (visible), leaves, late, hides or never
    occluders: tuple[Occluder, ...]
    camera: Camera
    light: float  # direction that light comes from, radians
    visitors: tuple[Visitor, ...] = ()  # arms and people of the footage look

    def place(self, index: int, t: float) -> tuple[float, float, float]:
        """Centre and radius of a thing at frame `t`, in pixels of the image, whether visible or not."""
        view, thing = self.camera.at(t), self.things[index]
        x, y = view.seen(thing.at(t))
        return x, y, thing.radius * thing.scale(t) * view.zoom


def make_scene(seed: int, preset: WorldPreset) -> Scene:
    """Draw a scene from a seed. No two things share both colour and shape, so an expression can
    identify one.
    """
    # The order of the draws is part of the format: another order would change every scene of a seed.
    # 1. How many frames and things, what they look like, and where they are.
    rng = np.random.default_rng(seed)
    fewest, most = preset.frames
    # A power above 1 makes long scenes rarer than short ones.
    frames = fewest + int((most - fewest + 1) * rng.random() ** preset.skew)
    count = int(rng.integers(preset.things[0], preset.things[1] + 1))
    target = int(rng.integers(count))
    looks = draw_looks(rng, count, target, preset.look_alikes)
    middles = _spread(rng, count, preset)
    radii = rng.uniform(*preset.radius, count) * preset.size[1]
    # 2. How the target is absent, and what stands in front. To hide, it needs an occluder of its size.
    absence = _absence_kind(rng, preset)
    occluders = [draw_occluder(rng, preset) for _ in range(int(rng.integers(*_upto(preset.occluders))))]
    hiding = None
    if absence == HIDES:
        occluder, hiding = hiding_place(rng, preset, float(radii[target]))
        occluders.append(occluder)
    # 3. The things with their motion, the absences of the target, camera and light.
    things = tuple(
        _thing(rng, preset, frames, look, middle, float(radius))
        for look, middle, radius in zip(looks, middles, radii, strict=True)
    )
    away = _absences(rng, preset, absence, frames, things[target], hiding)
    things = tuple(
        replace(thing, absences=away) if index == target else thing for index, thing in enumerate(things)
    )
    camera, light = _camera(rng, preset), float(rng.uniform(0, 2 * math.pi))
    scene = Scene(preset, seed, frames, things, target, absence, tuple(occluders), camera, light)
    return _staged(scene, middles, radii) if preset.look == "footage" else scene


def _staged(scene: Scene, middles: list[Point], radii: np.ndarray) -> Scene:
    """The scene in the footage look: some things rest, the camera may rotate, arms and people come."""
    # A generator of its own, since the draws of `make_scene` must stay as they are.
    rng = np.random.default_rng((scene.seed, 7))
    places = resting_places(rng, middles, radii, scene.preset.size)
    things = tuple(
        thing if place is None else _resting(thing, place, scene.frames)
        for thing, place in zip(scene.things, places, strict=True)
    )
    camera = replace(scene.camera, roll=rolling(rng, scene.camera))
    visitors = draw_visitors(rng, scene.preset, scene.frames, len(things))
    return replace(scene, things=things, camera=camera, visitors=visitors)


def _resting(thing: Thing, place: Point, frames: int) -> Thing:
    """The thing, lying still at a place; its absences stay. What flows or flies keeps changing its form."""
    path = Path(place, place, frames, (STILL, STILL))
    # Half of them lie in any direction.
    rng = np.random.default_rng((thing.seed, 10))
    angle = float(rng.uniform(-math.pi, math.pi)) if rng.random() < 0.5 else thing.angle
    return replace(thing, path=path, spin=0.0, growth=STILL, stretch=STILL, angle=angle)


def _upto(bounds: tuple[int, int]) -> tuple[int, int]:
    return bounds[0], bounds[1] + 1


def _spread(rng: np.random.Generator, count: int, preset: WorldPreset) -> list[Point]:
    """Centres that keep apart where there is room: for each, the best of several draws."""
    width, height = preset.size
    margin = preset.radius[1] * height * 1.1
    middles: list[Point] = []
    for _ in range(count):
        # Sixteen candidates; the one farthest from the earlier centres is taken.
        draws = rng.uniform((margin, margin), (width - margin, height - margin), (16, 2))
        gaps = [min((math.dist(draw, other) for other in middles), default=0.0) for draw in draws]
        x, y = draws[int(np.argmax(gaps))]
        middles.append((float(x), float(y)))
    return middles


def _thing(
    rng: np.random.Generator, preset: WorldPreset, frames: int, look: Look, middle: Point, radius: float
) -> Thing:
    colour, shape = look
    # Only shapes whose rotation is visible may spin fast, since expressions speak of it.
    fast = preset.camera > 0 and shape in SPINNABLE and rng.random() < 0.2
    spin = rng.uniform(FAST_SPIN, 2 * FAST_SPIN) if fast else rng.uniform(0, 0.012)
    pattern = str(rng.choice(list(PATTERNS), p=(0.6, 0.2, 0.2)))
    liveliness = 1.0 if preset.camera else 0.3
    return Thing(
        colour=colour,
        shape=shape,
        pattern="plain" if shape in AMORPHOUS else pattern,
        radius=radius,
        angle=float(rng.uniform(-0.4, 0.4)),
        spin=float(spin * rng.choice((-1, 1))),
        path=_path(rng, preset, frames, middle, radius),
        growth=draw_wave(rng, liveliness * float(rng.uniform(0.05, 0.2)), (0.02, 0.08)),
        stretch=draw_wave(rng, liveliness * float(rng.uniform(0.0, 0.07)), (0.04, 0.2)),
        seed=int(rng.integers(2**31)),
    )


def _path(rng: np.random.Generator, preset: WorldPreset, frames: int, middle: Point, radius: float) -> Path:
    """A path around a centre, or across the image; both are mostly inside the image."""
    # The part of the image in which the thing is completely visible.
    room = [(radius, side - radius) for side in preset.size]
    start, stop = list(middle), list(middle)
    # Some things cross the image along one axis, most along the horizontal one.
    if rng.random() < preset.crossing:
        axis = int(rng.random() < 0.35)
        ends = [room[axis][0], room[axis][1]]
        start[axis], stop[axis] = ends if rng.random() < 0.5 else ends[::-1]
    swings = []
    for low, high, first, last in zip(*zip(*room, strict=True), start, stop, strict=True):
        # The wave is as large as it can be without leaving the image, but not too small.
        inside = min(first - low, high - first, last - low, high - last)
        reach = float(rng.uniform(*preset.reach)) * preset.size[1]
        swings.append(draw_wave(rng, min(reach, max(inside, 0.3 * reach)), (0.03, 0.11)))
    return Path((start[0], start[1]), (stop[0], stop[1]), frames, (swings[0], swings[1]))


def _absence_kind(rng: np.random.Generator, preset: WorldPreset) -> str:
    shares = preset.absences
    # One random number chooses among the shares; what remains means always visible.
    draw = float(rng.random())
    for kind, share in vars(shares).items():
        if draw < share:
            return str(kind)
        draw -= share
    return ALWAYS


def _absences(
    rng: np.random.Generator,
    preset: WorldPreset,
    kind: str,
    frames: int,
    target: Thing,
    hiding: Point | None,
) -> tuple[Absence, ...]:
    """When and where the target is absent: once in each part of `stretch` frames of the video."""
    if kind == ALWAYS:
        return ()
    if kind == NEVER:
        beyond = _beyond(rng, preset, target, None)
        return (Absence(-FOREVER, FOREVER, beyond, beyond),)
    # Long videos have several absences, one in each part of equal length.
    count = max(1, round(frames / preset.stretch))
    absences = []
    for number in range(count):
        first, last = number * frames // count, (number + 1) * frames // count
        # The ways out and back take EXIT_FRAMES each, and the thing may be visible on them.
        length = int((last - first) * rng.uniform(*preset.away)) + 2 * EXIT_FRAMES
        length = min(length, last - first - 4)
        start = first + int(rng.integers(4, max(5, last - first - length + 1)))
        stop = start + length
        # A late target is absent from before the first frame.
        if kind == LATE and number == 0:
            start, stop = -FOREVER, int(frames / count * rng.uniform(*preset.away)) + EXIT_FRAMES // 2
        # Hiding, it goes to the place behind its occluder; else it leaves the image and returns elsewhere.
        if hiding is not None:
            out = back = hiding
        else:
            out = _beyond(rng, preset, target, start)
            back = _beyond(rng, preset, target, None)
        absences.append(Absence(start, stop, out, back))
    return tuple(absences)


def _beyond(rng: np.random.Generator, preset: WorldPreset, thing: Thing, t: int | None) -> Point:
    """A point outside the image: beyond the side nearest to the thing at frame `t`, or any side (None)."""
    width, height = preset.size
    # Far enough that nothing of it is visible, even when the camera pans.
    far = COVER * thing.radius + 0.12 * width * preset.camera
    x, y = float(rng.uniform(0.15, 0.85)) * width, float(rng.uniform(0.15, 0.85)) * height
    side = int(rng.integers(4))
    if t is not None and t >= 0:
        x, y = thing.path.at(t)
        side = int(np.argmin((x, width - x, y, height - y)))
    return ((-far, y), (width + far, y), (x, -far), (x, height + far))[side]


def _camera(rng: np.random.Generator, preset: WorldPreset) -> Camera:
    width, height = preset.size
    middle = width / 2, height / 2
    # Some cameras stand still, some move a little, some fully.
    strength = preset.camera * float(rng.choice((0.0, 0.4, 1.0)))
    if not strength:
        return Camera(middle, (STILL, STILL), (STILL, STILL), STILL)
    pan = [
        draw_wave(rng, strength * float(rng.uniform(0.2, 1)) * 0.07 * side, (0.01, 0.05))
        for side in preset.size
    ]
    shake = [draw_wave(rng, strength * float(rng.uniform(0, 1.5)), (0.9, 2.5)) for _ in range(2)]
    zoom = draw_wave(rng, strength * float(rng.uniform(0, 0.06)), (0.01, 0.05))
    return Camera(middle, (pan[0], pan[1]), (shake[0], shake[1]), zoom)
