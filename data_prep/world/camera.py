"""What the camera adds to a picture: vignette, light that changes, a tint, softness, and noise."""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.world.paths import STILL, Wave, draw_wave
from data_prep.world.presets import WorldPreset

NOISE_MARGIN = 64  # the noise of a scene is this much larger than the picture, and shifted every frame


@dataclass(frozen=True, eq=False)
class Finish:
    """The camera of one scene. `vignette` uint8 (height, width, 3), `noise` int16, larger by the margin."""

    seed: int
    vignette: np.ndarray | None
    noise: np.ndarray
    gain: Wave
    tint: tuple[float, float, float]
    blur: float  # deviation in pixels; 0: none


def finish_of(seed: int, preset: WorldPreset) -> Finish:
    """The camera of the scene of this seed."""
    rng = np.random.default_rng((seed, 2))
    width, height = preset.size
    plain, strong, varied = (preset.look == look for look in ("plain", "other", "varied"))
    level = float(rng.uniform(8, 18) if strong else rng.uniform(1, 7))
    grain = rng.standard_normal((height + NOISE_MARGIN, width + NOISE_MARGIN), np.float32)
    noise = cv2.merge([(level * (0.5 if plain else 1.0) * grain).astype(np.int16)] * 3)
    if plain:
        return Finish(seed, None, noise, STILL, (1.0, 1.0, 1.0), 0.0)
    dark = float(rng.uniform(0, 0.35))
    across, down = (np.linspace(-1, 1, side, dtype=np.float32) ** 2 for side in (width, height))
    vignette = np.round(255 - 127.5 * dark * np.add.outer(down, across)).astype(np.uint8)
    gain = draw_wave(rng, float(rng.uniform(0.02, 0.11)), (0.01, 0.06))
    cast = 0.09 if varied else 0.025
    red, green, blue = (1 + rng.uniform(-cast, cast, 3)).tolist()
    blur = float(rng.uniform(0.4, 1.3 if varied else 0.9)) if rng.random() < 0.3 else 0.0
    return Finish(seed, cv2.merge([vignette] * 3), noise, gain, (red, green, blue), blur)


def finished(picture: np.ndarray, finish: Finish, t: int) -> np.ndarray:
    """The picture as the camera gives it at frame `t`; RGB uint8 (height, width, 3)."""
    height, width = picture.shape[:2]
    if finish.blur:
        picture = cv2.GaussianBlur(picture, (5, 5), finish.blur)
    if finish.vignette is not None:
        picture = cv2.multiply(picture, finish.vignette, scale=1 / 255)
        gains = (1.0 + finish.gain.at(t)) * np.array(finish.tint)
        table = np.clip(np.arange(256)[:, None] * gains, 0, 255).astype(np.uint8)
        picture = cv2.LUT(picture, table[None])
    # A hash of the frame's number: the same in any process and for any order of frames.
    left, top = (t * 29 + finish.seed) % NOISE_MARGIN, (t * 37 + finish.seed // 7) % NOISE_MARGIN
    noise = finish.noise[top : top + height, left : left + width]
    return cv2.add(picture, noise, dtype=cv2.CV_8U)
