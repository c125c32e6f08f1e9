"""What an ordinary camera makes of an image: blur, exposure, colour, noise, compression.

It belongs to the footage look; the camera of the other looks is in `draw`.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.world.paths import STILL, Wave, draw_wave
from data_prep.world.presets import WorldPreset

NOISE_MARGIN = 64  # pixels by which the noise exceeds the image, so that it can be shifted in each frame


@dataclass(frozen=True, eq=False)
class Recording:
    """The camera of one scene.

    `vignette` uint8 (height, width, 3) is a factor of 255; `noise` int16 is larger by the
    margin.
    """

    seed: int
    shutter: float  # share of the time between two frames for which it is open
    focus: Wave  # around `blur`
    blur: float  # standard deviation in pixels; 0: none
    sharpen: float  # strength of the sharpening; 0: none
    vignette: np.ndarray | None
    exposure: float
    gain: Wave
    flicker: Wave
    cast: tuple[float, float, float]
    drift: tuple[Wave, Wave]  # of red and of blue
    gamma: float
    lift: float  # brightness of black, 0 to 255
    saturation: float
    noise: np.ndarray
    coarse: float  # scale at which the sensor reads; 1: that of the image
    quality: int  # of the JPEG compression; 0: none


def recording_of(seed: int, preset: WorldPreset) -> Recording:
    """The camera of the scene of this seed."""
    rng = np.random.default_rng((seed, 2))
    size = preset.size
    some = rng.random(8)
    return Recording(
        seed=seed,
        shutter=float(rng.uniform(0.0, 0.8)),
        focus=draw_wave(rng, float(rng.uniform(0, 0.5)), (0.02, 0.15)) if some[0] < 0.3 else STILL,
        blur=float(rng.uniform(0.4, 1.4)) if some[1] < 0.35 else 0.0,
        sharpen=float(rng.uniform(0.3, 1.2)) if some[2] < 0.3 else 0.0,
        vignette=_vignette(rng, size) if some[3] < 0.6 else None,
        exposure=float(math.exp(rng.uniform(-0.22, 0.2))),
        gain=draw_wave(rng, float(rng.uniform(0.01, 0.14)), (0.01, 0.12)),
        flicker=draw_wave(rng, float(rng.uniform(0.01, 0.04)), (1.2, 3.0)) if some[4] < 0.25 else STILL,
        cast=_cast(rng),
        drift=(_drift(rng), _drift(rng)),
        gamma=float(rng.uniform(0.8, 1.22)),
        lift=float(rng.uniform(0, 16)),
        saturation=float(rng.uniform(0.8, 1.2)) if some[5] < 0.6 else 1.0,
        noise=_noise(rng, size),
        coarse=float(rng.uniform(0.55, 0.85)) if some[6] < 0.25 else 1.0,
        quality=int(rng.integers(22, 75)) if some[7] < 0.7 else 0,
    )


def recorded(image: np.ndarray, recording: Recording, t: int, kernel: np.ndarray | None) -> np.ndarray:
    """The image of the camera at frame `t`, RGB uint8 (height, width, 3).

    `kernel` is that of the camera's own motion while the shutter is open; None: it hardly moves. The order is
    that of a real camera: optics, sensor, processing, compression.
    """
    height, width = image.shape[:2]
    # 1. Optics: the motion, the focus, darker corners.
    if kernel is not None:
        image = cv2.filter2D(image, -1, kernel)
    blur = recording.blur + max(0.0, recording.focus.at(t))
    if blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    if recording.vignette is not None:
        image = cv2.multiply(image, recording.vignette, scale=1 / 255)
    # 2. The sensor: exposure and noise.
    image = cv2.LUT(image, _table(recording, t)[None])
    image = cv2.add(image, noise_at(recording.noise, recording.seed, t), dtype=cv2.CV_8U)
    # 3. Processing: colour, a lower resolution, sharpening.
    if recording.saturation != 1:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = cv2.addWeighted(image, recording.saturation, grey, 1 - recording.saturation, 0)
    if recording.coarse < 1:
        small = cv2.resize(
            image, None, fx=recording.coarse, fy=recording.coarse, interpolation=cv2.INTER_AREA
        )
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if recording.sharpen:
        soft = cv2.blur(image, (3, 3))
        image = cv2.addWeighted(image, 1 + recording.sharpen, soft, -recording.sharpen, 0)
    # 4. Compression.
    if recording.quality:
        _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, recording.quality))
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return image


def noise_at(noise: np.ndarray, seed: int, t: int) -> np.ndarray:
    """The noise of frame `t`: a part of `noise`, which is larger than the image by `NOISE_MARGIN`.

    Its place follows from the frame's number, so frames may be drawn in any order and in any process.
    """
    height, width = (side - NOISE_MARGIN for side in noise.shape[:2])
    left, top = (t * 29 + seed) % NOISE_MARGIN, (t * 37 + seed // 7) % NOISE_MARGIN
    return noise[top : top + height, left : left + width]


def _table(recording: Recording, t: int) -> np.ndarray:
    """The brightness of each channel for each brightness before, uint8 (256, 3)."""
    gain = recording.exposure * (1 + recording.gain.at(t) + recording.flicker.at(t))
    red, green, blue = recording.cast
    casts = np.array((red + recording.drift[0].at(t), green, blue + recording.drift[1].at(t)))
    levels = (np.arange(256) / 255.0) ** recording.gamma
    table = recording.lift + (255 - recording.lift) * levels[:, None] * gain * casts
    return np.clip(table, 0, 255).astype(np.uint8)


def _cast(rng: np.random.Generator) -> tuple[float, float, float]:
    """Warm or cold light, and a little green or magenta."""
    warm, green = float(rng.uniform(-0.065, 0.065)), float(rng.uniform(-0.025, 0.025))
    return 1 + warm, 1 + green, 1 - warm


def _drift(rng: np.random.Generator) -> Wave:
    return draw_wave(rng, float(rng.uniform(0, 0.025)), (0.01, 0.06))


def _vignette(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Darker corners, not always around the middle of the image, uint8 (height, width, 3)."""
    dark = float(rng.uniform(0.05, 0.45))
    shift = rng.uniform(-0.25, 0.25, 2)
    across, down = (
        (np.linspace(-1, 1, side, dtype=np.float32) - np.float32(off)) ** 2
        for side, off in zip(size, shift, strict=True)
    )
    factor = np.clip(255 - 127.5 * dark * np.add.outer(down, across), 0, 255).astype(np.uint8)
    return cv2.merge([factor] * 3)


def _noise(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Noise of brightness and, in coarser spots, of colour, int16 (height, width, 3), with the margin."""
    wide, high = size[0] + NOISE_MARGIN, size[1] + NOISE_MARGIN
    level, chroma = float(rng.uniform(0.5, 7)), float(rng.uniform(0, 5))
    # A normal distribution of 256 levels: a table lookup is ten times as fast as drawing each pixel.
    table = np.round(level * np.sort(rng.standard_normal(256))).astype(np.int16)
    grain = cv2.LUT(rng.integers(0, 256, (high, wide), np.uint8), table)
    spots = np.round(chroma * rng.standard_normal((high // 3, wide // 3, 3), np.float32)).astype(np.int16)
    return cv2.add(cv2.resize(spots, (wide, high), interpolation=cv2.INTER_LINEAR), cv2.merge([grain] * 3))
