"""Rendering a frame of a scene: background, things, occluders and camera effects; and the visible
mask of each thing.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from data_prep.world.backgrounds import canvas_size, paint_background
from data_prep.world.figures import visitor_patch
from data_prep.world.occluders import Occluder
from data_prep.world.paths import STILL, Point, View, Wave, draw_wave
from data_prep.world.presets import WorldPreset
from data_prep.world.recording import NOISE_MARGIN, Recording, noise_at, recorded, recording_of
from data_prep.world.scene import Scene
from data_prep.world.solids import LEAST_BLUR, motion_kernel, solid_patch
from data_prep.world.sprites import Patch, occluder_sprite, thing_patch
from data_prep.world.styles import Style, style_of, styled_background


@dataclass(frozen=True, eq=False)
class Finish:
    """The effects of the camera of one scene.

    `vignette` uint8 (height, width, 3) is a factor of 255; `noise` int16 is larger than the image by the
    margin.
    """

    seed: int
    vignette: np.ndarray | None
    noise: np.ndarray
    gain: Wave
    tint: tuple[float, float, float]
    blur: float  # standard deviation in pixels; 0: none


def finish_of(seed: int, preset: WorldPreset) -> Finish:
    """The camera effects of the scene of this seed."""
    rng = np.random.default_rng((seed, 2))
    width, height = preset.size
    # The plain look has weak noise and nothing else; other looks have strong noise.
    plain, strong, varied = (preset.look == look for look in ("plain", "other", "varied"))
    level = float(rng.uniform(8, 18) if strong else rng.uniform(1, 7))
    grain = rng.standard_normal((height + NOISE_MARGIN, width + NOISE_MARGIN), np.float32)
    noise = cv2.merge([(level * (0.5 if plain else 1.0) * grain).astype(np.int16)] * 3)
    if plain:
        return Finish(seed, None, noise, STILL, (1.0, 1.0, 1.0), 0.0)
    # The vignette darkens with the square of the distance from the centre.
    dark = float(rng.uniform(0, 0.35))
    across, down = (np.linspace(-1, 1, side, dtype=np.float32) ** 2 for side in (width, height))
    vignette = np.round(255 - 127.5 * dark * np.add.outer(down, across)).astype(np.uint8)
    # Brightness changes slowly over time; the tint stays.
    gain = draw_wave(rng, float(rng.uniform(0.02, 0.11)), (0.01, 0.06))
    cast = 0.09 if varied else 0.025
    red, green, blue = (1 + rng.uniform(-cast, cast, 3)).tolist()
    blur = float(rng.uniform(0.4, 1.3 if varied else 0.9)) if rng.random() < 0.3 else 0.0
    return Finish(seed, cv2.merge([vignette] * 3), noise, gain, (red, green, blue), blur)


def finished(image: np.ndarray, finish: Finish, t: int) -> np.ndarray:
    """The image of the camera at frame `t`, RGB uint8 (height, width, 3).

    In the order of a real camera: the lens blurs and darkens the corners, exposure and white balance change
    the brightness, and the sensor adds noise.
    """
    if finish.blur:
        image = cv2.GaussianBlur(image, (5, 5), finish.blur)
    if finish.vignette is not None:
        image = cv2.multiply(image, finish.vignette, scale=1 / 255)
        # A lookup table is faster than a multiplication of every pixel.
        gains = (1.0 + finish.gain.at(t)) * np.array(finish.tint)
        table = np.clip(np.arange(256)[:, None] * gains, 0, 255).astype(np.uint8)
        image = cv2.LUT(image, table[None])
    return cv2.add(image, noise_at(finish.noise, finish.seed, t), dtype=cv2.CV_8U)


SOLID = 127  # coverage (0 to 255) above which a pixel belongs to a thing
SMOKE_SOLID = 102  # the same for smoke, whose edge is wide


def draw_frame(scene: Scene, t: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draw frame `t` of a scene.

    Returns the image, RGB uint8 (height, width, 3), and the visible mask of each thing, bool (height, width),
    without what later things and occluders hide.
    """
    _without_threads()
    # 1. The background, as the camera sees it.
    width, height = scene.preset.size
    view, style = scene.camera.at(t), _style(scene.seed, scene.preset)
    _, origin = canvas_size(scene.preset)
    image = cv2.warpAffine(
        background(scene.seed, scene.preset),
        view.matrix(origin),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    # 2. The things, back to front. Each one is removed from the masks of those behind it.
    masks = [np.zeros((height, width), bool) for _ in scene.things]
    _paint_visitors(image, scene, t, [], behind=True)
    for index, thing in enumerate(scene.things):
        x, y, radius = scene.place(index, t)
        if scene.preset.look == "footage":
            motion = _motion(scene, index, t)
            patch = solid_patch(thing, t, (x, y), radius, scene.light, style, view.roll, motion)
        else:
            patch = thing_patch(thing, t, (x, y), radius, scene.light, style)
        solid = SMOKE_SOLID if thing.shape == "smoke" else SOLID
        _paint(image, patch, masks[:index], masks[index], solid)
    # 3. The occluders, in front of all things, and the effects of the camera.
    for occluder in scene.occluders:
        _paint(image, _occluder_patch(occluder, view, style), masks, None, SOLID)
    _paint_visitors(image, scene, t, masks, behind=False)
    if scene.preset.look == "footage":
        recording = _recording(scene.seed, scene.preset)
        return recorded(image, recording, t, _camera_kernel(scene, t, recording.shutter)), masks
    return finished(image, _finish(scene.seed, scene.preset), t), masks


def _paint_visitors(image: np.ndarray, scene: Scene, t: int, masks: list[np.ndarray], behind: bool) -> None:
    """Draw the arms and people that are behind all things or in front of them, in place."""
    view = scene.camera.at(t)
    for visitor in scene.visitors:
        if visitor.behind == behind:
            over = scene.things[visitor.thing].at(t) if scene.things else (0.0, 0.0)
            patch = visitor_patch(visitor, t, over, view, scene.light, scene.preset.size)
            if patch is not None:
                _paint(image, patch, masks, None, SOLID)


def _motion(scene: Scene, index: int, t: int) -> Point:
    """The way of a thing in the world while the shutter is open around frame `t`, in pixels."""
    shutter = _recording(scene.seed, scene.preset).shutter
    (x0, y0), (x1, y1) = (scene.things[index].at(t + side * shutter / 2) for side in (-1, 1))
    return x1 - x0, y1 - y0


def _camera_kernel(scene: Scene, t: int, shutter: float) -> np.ndarray | None:
    """The blur by the camera's own motion; None where it moves by less than `LEAST_BLUR` pixels."""
    (x0, y0), (x1, y1) = (scene.camera.at(t + side * shutter / 2).shift for side in (-1, 1))
    speed = float(np.hypot(x1 - x0, y1 - y0))
    return motion_kernel((x1 - x0, y1 - y0), speed) if speed >= LEAST_BLUR else None


@lru_cache(maxsize=1)
def _without_threads() -> None:
    """Keep OpenCV to one thread: images are small, and forking a process with OpenCV's threads may hang."""
    cv2.setNumThreads(1)


@lru_cache(maxsize=8)
def background(seed: int, preset: WorldPreset) -> np.ndarray:
    """The background of a scene, RGB uint8, larger than the image (see `canvas_size`)."""
    return styled_background(paint_background(seed, preset), _style(seed, preset))


@lru_cache(maxsize=8)
def _finish(seed: int, preset: WorldPreset) -> Finish:
    return finish_of(seed, preset)


@lru_cache(maxsize=8)
def _recording(seed: int, preset: WorldPreset) -> Recording:
    return recording_of(seed, preset)


@lru_cache(maxsize=8)
def _style(seed: int, preset: WorldPreset) -> Style:
    return style_of(seed, preset)


def _occluder_patch(occluder: Occluder, view: View, style: Style) -> Patch:
    """An occluder as the camera sees it."""
    sprite = occluder_sprite(occluder, style)
    height, width = sprite.shape[:2]
    # Occluders belong to the world: the camera moves, scales and rotates them.
    corner = occluder.middle[0] - width / 2, occluder.middle[1] - height / 2
    corners = [view.seen((corner[0] + x, corner[1] + y)) for x in (0, width) for y in (0, height)]
    left, top = (int(np.floor(min(seen[axis] for seen in corners))) for axis in (0, 1))
    matrix = view.matrix(corner) - np.array([[0, 0, left], [0, 0, top]])
    cos, sin = view.zoom * np.cos(view.roll), view.zoom * abs(np.sin(view.roll))
    size = int(width * cos + height * sin) + 2, int(height * cos + width * sin) + 2
    warped = cv2.warpAffine(sprite, matrix, size, flags=cv2.INTER_LINEAR)
    colour, cover = warped[..., :3].astype(np.float32), warped[..., 3]
    return Patch(left, top, colour, cover, cover, None)


def _paint(
    image: np.ndarray, patch: Patch, below: list[np.ndarray], mask: np.ndarray | None, solid: int
) -> None:
    """Blend a patch into the image, write its mask, and remove it from the masks below; all in place."""
    rows, high = patch.cover.shape[0], image.shape[0]
    columns, wide = patch.cover.shape[1], image.shape[1]
    top, bottom = max(0, patch.top), min(high, patch.top + rows)
    left, right = max(0, patch.left), min(wide, patch.left + columns)
    if left >= right or top >= bottom:
        return
    # 1. The part of the patch inside the image: `window` in the image, `inner` in the patch.
    window = slice(top, bottom), slice(left, right)
    inner = slice(top - patch.top, bottom - patch.top), slice(left - patch.left, right - patch.left)
    # 2. Alpha blending. The shadow darkens what is below before the patch covers it.
    alpha = patch.cover[inner].astype(np.float32)[..., None] * (1 / 255)
    under = image[window].astype(np.float32)
    if patch.shadow is not None:
        under *= patch.shadow[inner][..., None]
    under += (patch.colour[inner] - under) * alpha
    image[window] = np.clip(under, 0, 255).astype(np.uint8)
    # 3. The masks.
    seen = patch.region[inner] > solid
    for other in below:
        other[window] &= ~seen
    if mask is not None:
        mask[window] = seen
