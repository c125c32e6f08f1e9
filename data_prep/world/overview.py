"""An overview of a preset: statistics of its rendered scenes, and a contact sheet with a frame of
each of the first.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data_prep.files import whole_file
from data_prep.geometry import box_of_mask
from data_prep.world.draw import draw_frame
from data_prep.world.expressions import expression_texts
from data_prep.world.film import SLIVER, seen
from data_prep.world.presets import WorldPreset
from data_prep.world.scene import Scene, make_scene

HIDDEN = 0.35  # a target with less than this share of its median area counts as mostly hidden


@dataclass(frozen=True)
class PresetFigures:
    """Statistics of the scenes of a preset, in which all frames count equally."""

    preset: str
    scenes: int
    frames: float  # mean per scene
    things: float  # mean per scene
    present: float  # share of frames that show the target
    hidden: float  # share of frames in which it is absent or mostly hidden
    area: float  # median share of the frame that the target covers where it is present
    same_colour: float  # other things of the target's colour, a scene
    same_shape: float  # other things of its shape
    fewest_alike: int  # look-alikes in the scene that has fewest
    others_seen: float  # share of the other things that are seen
    milliseconds: float  # of one core for a frame, median
    absences: dict[str, int]  # scenes of each kind

    def __str__(self) -> str:
        row = (
            f"{self.preset:10} frames {self.frames:.0f}  things {self.things:.1f}  present {self.present:.2f}"
            f"  hidden or absent {self.hidden:.2f}  median area {100 * self.area:.2f} %  look-alikes"
            f" {self.same_colour:.1f} by colour, {self.same_shape:.1f} by shape, at least {self.fewest_alike}"
            f"  others seen {self.others_seen:.2f}  {self.milliseconds:.1f} ms a frame  "
        )
        return row + ", ".join(f"{kind} {count}" for kind, count in sorted(self.absences.items()))


def measure(preset: WorldPreset, scenes: int, every: int = 5) -> PresetFigures:
    """Statistics of the first `scenes` scenes of a preset, from every `every`-th of their frames."""
    # Scenes are only described here; frames are drawn one by one below.
    drawn = [make_scene(preset.first_seed + index, preset) for index in range(scenes)]
    looked = [_look_at(scene, every) for scene in drawn]
    areas = np.concatenate([areas for areas, _, _ in looked])
    # A target is mostly hidden in comparison with its own median area in the video.
    usual = np.concatenate([np.full(len(areas), _median(areas)) for areas, _, _ in looked])
    alike = np.array([_look_alikes(scene) for scene in drawn])
    return PresetFigures(
        preset=preset.name,
        scenes=scenes,
        frames=float(np.mean([scene.frames for scene in drawn])),
        things=float(np.mean([len(scene.things) for scene in drawn])),
        present=float((areas > 0).mean()),
        hidden=float((areas < HIDDEN * np.maximum(usual, 1)).mean()),
        area=_median(areas) / (preset.size[0] * preset.size[1]),
        same_colour=float(alike[:, 0].mean()),
        same_shape=float(alike[:, 1].mean()),
        fewest_alike=int(alike.sum(axis=1).min()),
        others_seen=float(np.concatenate([others for _, others, _ in looked]).mean()),
        milliseconds=1000 * float(np.median(np.concatenate([seconds for _, _, seconds in looked]))),
        absences=dict(Counter(scene.absence for scene in drawn)),
    )


def _look_at(scene: Scene, every: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each examined frame: the target's area in pixels, the visible share of the others,
    seconds to draw.
    """
    areas, others, seconds = [], [], []
    for t in range(0, scene.frames, every):
        # The time of the processor, which other processes do not affect.
        started = time.process_time()
        _, masks = draw_frame(scene, t)
        seconds.append(time.process_time() - started)
        shown = [int(np.count_nonzero(mask)) for mask in masks]
        target = shown.pop(scene.target)
        areas.append(target if target >= SLIVER else 0)
        others.append(np.mean([area >= SLIVER for area in shown]))
    return np.array(areas), np.array(others), np.array(seconds)


def _median(areas: Sequence[int] | np.ndarray) -> float:
    """Median of the areas that are not 0."""
    shown = np.asarray(areas)[np.asarray(areas) > 0]
    return float(np.median(shown)) if shown.size else 0.0


def _look_alikes(scene: Scene) -> tuple[int, int]:
    """The number of other things with the target's colour, and with its shape."""
    target = scene.things[scene.target]
    same_colour = sum(thing.colour == target.colour for thing in scene.things) - 1
    return same_colour, sum(thing.shape == target.shape for thing in scene.things) - 1


COLUMNS, ROWS = 4, 3
LINE = 15  # pixels from one line of text to the next
TILE = 320  # width of a tile in pixels
PALETTE = 256  # colours of the file, which keeps it small
VIVID = 70  # difference between the largest and the smallest of red, green and blue


def write_sheet(path: Path, preset: WorldPreset) -> None:
    """Write the sheet as a PNG with a palette."""
    tiles = [_tile(make_scene(preset.first_seed + index, preset)) for index in range(COLUMNS * ROWS)]
    rows = [np.hstack(tiles[first : first + COLUMNS]) for first in range(0, len(tiles), COLUMNS)]
    with whole_file(path) as temporary:
        _with_palette(np.vstack(rows)).save(temporary, "PNG", optimize=True)


def _with_palette(image: np.ndarray) -> Image.Image:
    """The image in `PALETTE` colours, half of them for the vivid pixels, which are few but important."""
    flat = image.reshape(-1, 3)
    # Colours of things are what the sheet is for. They are few pixels, so a common palette would lose them.
    vivid = np.ptp(flat, axis=1) > VIVID
    palettes = [
        _colours_of(flat[vivid], Image.Quantize.MAXCOVERAGE),
        _colours_of(flat[~vivid], Image.Quantize.MEDIANCUT),
    ]
    # Pillow takes a given palette only from an image that has it.
    holder = Image.new("P", (1, 1))
    holder.putpalette(np.concatenate(palettes).astype(np.uint8).tobytes())
    # Dithering would add noise, which PNG compresses badly.
    return Image.fromarray(image).quantize(palette=holder, dither=Image.Dither.NONE)


def _colours_of(pixels: np.ndarray, method: Image.Quantize) -> np.ndarray:
    """Half a palette for pixels (N, 3): uint8 (PALETTE / 2, 3)."""
    # (N, 3) -> (1, N, 3): an image of one row.
    image = Image.fromarray(pixels[None]).quantize(PALETTE // 2, method=method)
    found = np.array(image.getpalette(), np.uint8).reshape(-1, 3)[: PALETTE // 2]
    # `np.resize` repeats the colours where Pillow found fewer.
    return np.resize(found, (PALETTE // 2, 3))


def _tile(scene: Scene) -> np.ndarray:
    """A frame of a scene with its first two expressions below, RGB uint8 (height, TILE, 3).

    Of eight random frames it is the first that shows the target, or the last where none does.
    """
    width, height = scene.preset.size
    rng = np.random.default_rng((scene.seed, 6))
    # A few tries to find a frame that shows the target.
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
