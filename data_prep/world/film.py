"""Rendered sequences: `Clip`, frames with the masks of all things, and `Film`, one scene as a
sequence of a data set.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data_prep.world.draw import draw_frame
from data_prep.world.expressions import expressions_for
from data_prep.world.phrases import Expression
from data_prep.world.presets import WorldPreset
from data_prep.world.scene import Scene, Thing, make_scene


@dataclass(frozen=True)
class Clip:
    """Frames, RGB uint8 (height, width, 3), and visible masks: `masks[t][i]` is that of thing `i`, bool."""

    scene: Scene
    images: list[np.ndarray]
    masks: list[list[np.ndarray]]


def render_clip(seed: int, preset: WorldPreset, frames: int = 0, start: int = 0) -> Clip:
    """Render `frames` frames of the scene of `seed`, beginning at frame `start`; 0: all of them."""
    scene = make_scene(seed, preset)
    # Asking for more frames than there are gives all of them.
    stop = min(scene.frames, start + frames) if frames else scene.frames
    drawn = [draw_frame(scene, t) for t in range(start, stop)]
    return Clip(scene, [image for image, _ in drawn], [masks for _, masks in drawn])


SLIVER = 12  # pixels; a target with fewer visible pixels cannot be recognised, so it counts as absent


@dataclass(frozen=True)
class Film:
    """One sequence of a data set: the first `frames` frames of a scene, and expressions for its target."""

    name: str
    scene: Scene
    frames: int
    expressions: tuple[Expression, ...]

    def shots(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Each frame, RGB uint8 (height, width, 3), and its target's mask, bool (height, width), or None."""
        for t in range(self.frames):
            # Only the mask of the target is written; other things are distractors.
            image, masks = draw_frame(self.scene, t)
            yield image, seen(masks[self.scene.target])


def make_film(preset: WorldPreset, index: int, expressions: int = 0, frames: int = 0) -> Film:
    """The film of scene number `index` of a preset.

    `expressions` is the number of expressions and `frames` the largest number of frames; 0: those of the
    preset.
    """
    # Scenes are numbered through the seeds of the preset.
    scene = make_scene(preset.first_seed + index, preset)
    length = min(scene.frames, frames) if frames else scene.frames
    texts = expressions_for(scene, expressions or preset.expressions)
    return Film(f"{preset.name}-{index + 1:03d}", scene, length, texts)


def seen(mask: np.ndarray) -> np.ndarray | None:
    """A mask, bool (height, width), or None where it has fewer than `SLIVER` pixels."""
    return mask if np.count_nonzero(mask) >= SLIVER else None


def attributes(film: Film, areas: list[int]) -> dict[str, object]:
    """Attributes by which results can be grouped. `areas` is the target's area in each frame in
    pixels; 0: absent.
    """
    scene = film.scene
    width, height = scene.preset.size
    # Areas relative to the frame, of the frames that show the target.
    shown = [area / (width * height) for area in areas if area]
    others = [thing for index, thing in enumerate(scene.things) if index != scene.target]
    return {
        "preset": scene.preset.name,
        "seed": scene.seed,
        "frames": film.frames,
        "absence": scene.absence,
        "present_share": round(len(shown) / len(areas), 4),
        "median_area_share": round(float(np.median(shown)), 5) if shown else None,
        "target": _look(scene.things[scene.target]),
        "others": [_look(thing) for thing in others],
        "occluders": [occluder.kind for occluder in scene.occluders],
        "expressions": [vars(expression) for expression in film.expressions],
    }


def _look(thing: Thing) -> dict[str, object]:
    return {
        "colour": thing.colour,
        "shape": thing.shape,
        "pattern": thing.pattern,
        "radius": round(thing.radius, 2),
    }
