"""A clip: consecutive frames of one scene with the masks of all its things."""

from dataclasses import dataclass

import numpy as np

from data_prep.world.draw import draw_frame
from data_prep.world.presets import WorldPreset
from data_prep.world.scene import Scene, make_scene


@dataclass(frozen=True)
class Clip:
    """Frames, RGB uint8 (height, width, 3), and masks: `masks[t][i]` is what is seen of thing `i`, bool."""

    scene: Scene
    images: list[np.ndarray]
    masks: list[list[np.ndarray]]


def render_clip(seed: int, preset: WorldPreset, frames: int = 0, start: int = 0) -> Clip:
    """Render `frames` frames from frame `start` on of the scene of `seed`; 0 or too many: all there are."""
    scene = make_scene(seed, preset)
    stop = min(scene.frames, start + frames) if frames else scene.frames
    drawn = [draw_frame(scene, t) for t in range(start, stop)]
    return Clip(scene, [image for image, _ in drawn], [masks for _, masks in drawn])
