"""Named settings of the rendered world. No two presets share seeds.

A preset must not be changed once results have been published with it, since they could not be compared any
more.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from data_prep.geometry import Size

TRAINING_SEEDS = 200_000_000  # training uses this many of the first seeds of a preset, and no others


@dataclass(frozen=True)
class AbsenceShares:
    """How targets are absent, as shares of a preset's scenes. In the other scenes they are always visible."""

    leaves: float = 0.0  # leaves the image and comes back in another place
    late: float = 0.0  # enters the image later
    hides: float = 0.0  # stays behind an occluder for a while
    never: float = 0.0  # is in no frame


@dataclass(frozen=True)
class WorldPreset:
    """What a scene is made of. Lengths are shares of the frame's height, unless stated otherwise."""

    name: str
    first_seed: int  # scene seeds are first_seed, first_seed + 1, …
    look: str  # plain, photo, other, varied or footage
    frames: tuple[int, int]  # fewest and most frames of a scene
    things: tuple[int, int]  # fewest and most things in a scene, the target among them
    radius: tuple[float, float]  # smallest and largest radius of a thing
    look_alikes: int  # fewest things that share the target's colour or its shape
    reach: tuple[float, float]  # how far things wander to each side
    absences: AbsenceShares
    away: tuple[float, float]  # shortest and longest absence, as a share of a stretch of the video
    occluders: tuple[int, int]  # fewest and most standing things in front, the hiding place not counted
    camera: float  # 0: static; 1: pans, zooms and shakes
    crossing: float = 0.35  # share of things that go from one side to the other
    skew: float = 1.0  # above 1: short scenes are more frequent than long ones
    stretch: int = 200  # frames for each absence; a scene has at least one
    sequences: int = 20  # number of sequences to render by default
    expressions: int = 4  # number of expressions for a target by default
    size: Size = (480, 320)  # width, height of a frame in pixels
    # Kinds of expressions: basic, or rich, with superlatives, negation and others. Not in the representation,
    # on which the names of rendered pools depend.
    words: Literal["basic", "rich"] = field(default="basic", repr=False)


_TRAIN = WorldPreset(
    name="train",
    first_seed=2_000_000_000,
    look="photo",
    frames=(60, 150),
    things=(4, 6),
    radius=(0.078, 0.154),
    look_alikes=2,
    reach=(0.04, 0.22),
    absences=AbsenceShares(leaves=0.26, late=0.16, hides=0.25, never=0.05),
    away=(0.2, 0.42),
    occluders=(0, 1),
    camera=1.0,
)
# Many targets of 9 to 42 pixels: `small` to train on, in the varied look, and `small_val` to evaluate on.
_SMALL = replace(_TRAIN, things=(4, 9), radius=(0.014, 0.065), occluders=(0, 2))
# Things with parts, clutter, arms and people, and the effects of ordinary cameras.
_FOOTAGE = replace(
    _TRAIN, look="footage", things=(3, 9), radius=(0.03, 0.19), reach=(0.02, 0.22), occluders=(0, 1)
)
_PRESETS = (
    WorldPreset(
        # First steps: a plain background, few things, which hardly move and never disappear.
        name="plain",
        first_seed=1_000_000_000,
        look="plain",
        frames=(60, 60),
        things=(3, 4),
        radius=(0.09, 0.16),
        look_alikes=0,
        reach=(0.0, 0.03),
        absences=AbsenceShares(),
        away=(0.0, 0.0),
        occluders=(0, 0),
        camera=0.0,
        crossing=0.0,
    ),
    # The usual world. `val` and `test` differ from `train` only in their seeds.
    _TRAIN,
    replace(_TRAIN, name="val", first_seed=3_000_000_000),
    replace(_TRAIN, name="test", first_seed=4_000_000_000),
    replace(
        _TRAIN,
        # Evaluation under difficult conditions: long videos, many small things, look-alikes and occluders.
        name="hard",
        first_seed=5_000_000_000,
        frames=(60, 600),
        skew=5.0,
        things=(6, 9),
        radius=(0.05, 0.125),
        absences=AbsenceShares(leaves=0.27, late=0.15, hides=0.3, never=0.05),
        occluders=(1, 2),
        sequences=40,
        expressions=2,
    ),
    # Evaluation in styles that no training preset has.
    replace(_TRAIN, name="other_look", first_seed=6_000_000_000, look="other"),
    replace(
        _TRAIN,
        # Training for other worlds: every video looks different.
        name="varied",
        first_seed=8_000_000_000,
        look="varied",
        things=(2, 9),
        radius=(0.05, 0.24),
        occluders=(0, 2),
    ),
    replace(_SMALL, name="small", first_seed=20_000_000_000, look="varied"),
    replace(_SMALL, name="small_val", first_seed=21_000_000_000),
    replace(_FOOTAGE, name="footage", first_seed=22_000_000_000),
    replace(_FOOTAGE, name="footage_val", first_seed=23_000_000_000),
    # The usual world with more kinds of expressions, to evaluate on and to train on.
    replace(_TRAIN, name="words_val", first_seed=24_000_000_000, words="rich"),
    replace(_TRAIN, name="words", first_seed=25_000_000_000, words="rich"),
    replace(
        _TRAIN,
        # Short videos with large things, for the demonstration.
        name="demo",
        first_seed=7_000_000_000,
        frames=(60, 60),
        radius=(0.1, 0.16),
        sequences=6,
        expressions=3,
    ),
)
PRESETS: dict[str, WorldPreset] = {preset.name: preset for preset in _PRESETS}
