"""Named settings of the rendered world. Seeds of two presets are never shared."""

from dataclasses import dataclass

from data_prep.geometry import Size


@dataclass(frozen=True)
class WorldPreset:
    """What a scene is made of. Lengths are shares of the frame's height; times are frames."""

    name: str
    first_seed: int  # scene seeds are first_seed, first_seed + 1, …
    size: Size  # width, height of a frame in pixels
    things: tuple[int, int]  # fewest and most things in a scene, the target among them
    radius: tuple[float, float]  # smallest and largest radius of a thing
    textured: bool  # noise on backgrounds and light on things, or flat colours
    look_alikes: float  # chance that a thing shares colour or shape with another; 0: none ever does
    colours: int  # how many colours a scene draws from; 0: all
    moving: bool
    absence: float  # share of scenes whose target leaves and returns
    late: float  # share of scenes whose target comes in only later
    pillars: int  # most standing occluders
    frames: int  # length of a clip


PRESETS: dict[str, WorldPreset] = {
    preset.name: preset
    for preset in (
        WorldPreset(
            "plain", 1_000_000_000, (112, 112), (3, 3), (0.1, 0.2), False, 0.0, 0, False, 0.0, 0.0, 0, 1
        ),
        WorldPreset(
            "mono", 1_250_000_000, (112, 112), (3, 3), (0.1, 0.2), False, 0.6, 1, False, 0.0, 0.0, 0, 1
        ),
        WorldPreset(
            "flat", 1_500_000_000, (112, 112), (3, 3), (0.1, 0.2), False, 0.6, 0, False, 0.0, 0.0, 0, 1
        ),
        WorldPreset(
            "train", 2_000_000_000, (480, 270), (3, 5), (0.08, 0.17), True, 0.3, 0, True, 0.5, 0.2, 1, 60
        ),
        WorldPreset(
            "val", 3_000_000_000, (480, 270), (3, 5), (0.08, 0.17), True, 0.3, 0, True, 0.5, 0.2, 1, 60
        ),
        WorldPreset(
            "simple", 5_000_000_000, (288, 288), (3, 3), (0.1, 0.2), True, 0.3, 0, True, 0.5, 0.2, 1, 60
        ),
        WorldPreset(
            "demo", 4_000_000_000, (288, 288), (3, 3), (0.1, 0.2), True, 0.3, 0, True, 0.7, 0.2, 1, 60
        ),
    )
}
