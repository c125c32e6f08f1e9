"""A contact sheet of a preset: one frame of each of its first scenes, the target boxed, expressions below."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data_prep.files import whole_file
from data_prep.geometry import box_of_mask
from data_prep.world.draw import draw_frame
from data_prep.world.expressions import expression_texts
from data_prep.world.film import seen
from data_prep.world.presets import WorldPreset
from data_prep.world.scene import Scene, make_scene

COLUMNS, ROWS = 4, 3
LINE = 15  # pixels from one line of text to the next
TILE = 320  # width of a tile in pixels
PALETTE = 256  # colours of the file, which keep it small
VIVID = 70  # difference between the largest and the smallest of red, green and blue


def write_sheet(path: Path, preset: WorldPreset) -> None:
    """Write the sheet as a PNG with a palette."""
    tiles = [_tile(make_scene(preset.first_seed + index, preset)) for index in range(COLUMNS * ROWS)]
    rows = [np.hstack(tiles[first : first + COLUMNS]) for first in range(0, len(tiles), COLUMNS)]
    with whole_file(path) as temporary:
        _with_palette(np.vstack(rows)).save(temporary, "PNG", optimize=True)


def _with_palette(picture: np.ndarray) -> Image.Image:
    """The picture in `PALETTE` colours, half of them for the vivid pixels, which are few but matter."""
    flat = picture.reshape(-1, 3)
    vivid = np.ptp(flat, axis=1) > VIVID
    palettes = [
        _colours_of(flat[vivid], Image.Quantize.MAXCOVERAGE),
        _colours_of(flat[~vivid], Image.Quantize.MEDIANCUT),
    ]
    holder = Image.new("P", (1, 1))
    holder.putpalette(np.concatenate(palettes).astype(np.uint8).tobytes())
    return Image.fromarray(picture).quantize(palette=holder, dither=Image.Dither.NONE)


def _colours_of(pixels: np.ndarray, method: Image.Quantize) -> np.ndarray:
    """Half a palette that stands for pixels (N, 3): uint8 (PALETTE / 2, 3)."""
    image = Image.fromarray(pixels[None]).quantize(PALETTE // 2, method=method)
    found = np.array(image.getpalette(), np.uint8).reshape(-1, 3)[: PALETTE // 2]
    return np.resize(found, (PALETTE // 2, 3))


def _tile(scene: Scene) -> np.ndarray:
    """A frame of a scene with its first two expressions below, RGB uint8 (height, TILE, 3).

    Of eight random frames it is the first that shows the target, or the last where none does.
    """
    width, height = scene.preset.size
    rng = np.random.default_rng((scene.seed, 6))
    for t in rng.integers(scene.frames, size=8):
        image, masks = draw_frame(scene, int(t))
        mask = seen(masks[scene.target])
        if mask is not None:
            left, top, right, bottom = (int(side) for side in box_of_mask(mask) or ())
            cv2.rectangle(image, (left - 3, top - 3), (right + 2, bottom + 2), (0, 255, 0), 2)
            break
    image = cv2.resize(image, (TILE, TILE * height // width), interpolation=cv2.INTER_AREA)
    foot = np.zeros((2 * LINE + 4, TILE, 3), np.uint8)
    for number, text in enumerate(expression_texts(scene, 2), start=1):
        text = text if mask is not None else f"{text} (absent)"
        cv2.putText(foot, text, (4, LINE * number - 3), 0, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([image, foot])
