"""Writing films as a data set: a VOTSr workspace, or the files of TNL2K or TNLLT; and a whole preset in
parallel.

The folder of each sequence also has `attributes.json` (see `film.attributes`).
"""

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.files import inside, write_whole
from data_prep.geometry import box_of_mask, xyxy_to_xywh
from data_prep.parallel import in_processes
from data_prep.votsr.textfiles import sequence_folder, write_sequence, write_truth, write_workspace
from data_prep.world.film import Film, attributes, make_film
from data_prep.world.presets import WorldPreset

FPS = 12.0
JPEG_QUALITY = (60, 95)  # lowest and highest; drawn for each sequence
PNG_LEVEL = 1  # the fastest level: images with noise hardly get smaller


def write_votsr(root: Path, film: Film) -> None:
    """Write a sequence of a VOTSr workspace, with the target's mask in every frame."""
    folder = sequence_folder(root, film.name)
    masks = _write_frames(film, folder / "color", "{:08d}.jpg", _quality(film))
    write_sequence(folder, [expression.text for expression in film.expressions], FPS)
    write_truth(folder / "groundtruth_object1.txt", masks, [True] * len(masks), film.scene.preset.size)
    _write_attributes(folder, film, masks)


def write_tnl2k(root: Path, film: Film) -> None:
    """Write `<name>/` in the layout of TNL2K, in which 1 in `absent_label.txt` means absent."""
    folder = inside(root, film.name)
    masks = _write_frames(film, folder / "imgs", "{:05d}.jpg", _quality(film))
    _write_boxes(folder, film, masks, absent=1)


def write_tnllt(root: Path, film: Film) -> None:
    """Write `<name>/` in the layout of TNLLT, in which 0 in `absent_label.txt` means absent."""
    folder = inside(root, film.name)
    # The published frames of TNLLT are PNG files.
    masks = _write_frames(film, folder / "imgs", "{:05d}.png", None)
    _write_boxes(folder, film, masks, absent=0)


LAYOUTS: dict[str, Callable[[Path, Film], None]] = {
    "votsr": write_votsr,
    "tnl2k": write_tnl2k,
    "tnllt": write_tnllt,
}


def _write_frames(film: Film, folder: Path, pattern: str, quality: int | None) -> list[np.ndarray | None]:
    """Write the frames, numbered from 1, as JPEG of this quality or (None) as PNG; returns the
    target's masks.
    """
    masks = []
    for number, (image, mask) in enumerate(film.shots(), start=1):
        # Frames need not be on the disk yet: the truth, which is written after them, waits for that.
        write_whole(folder / pattern.format(number), _encoded(image, quality), durable=False)
        masks.append(mask)
    return masks


def _write_boxes(folder: Path, film: Film, masks: list[np.ndarray | None], absent: int) -> None:
    """Write boxes (x,y,w,h; 0,0,0,0 where the target is absent), flags of absence, and the first
    expression.
    """
    write_whole(folder / "groundtruth.txt", "".join(f"{_box_line(mask)}\n" for mask in masks))
    # The two data sets write the flag of absence in opposite ways.
    labels = [absent if mask is None else 1 - absent for mask in masks]
    write_whole(folder / "absent_label.txt", "".join(f"{label}\n" for label in labels))
    write_whole(folder / "language.txt", f"{film.expressions[0].text}\n")
    _write_attributes(folder, film, masks)


def _box_line(mask: np.ndarray | None) -> str:
    box_xyxy = None if mask is None else box_of_mask(mask)
    box_xywh = (0, 0, 0, 0) if box_xyxy is None else xyxy_to_xywh(box_xyxy)
    # The box of a mask has whole numbers only.
    return ",".join(f"{side:.0f}" for side in box_xywh)


def _write_attributes(folder: Path, film: Film, masks: list[np.ndarray | None]) -> None:
    areas = [0 if mask is None else int(np.count_nonzero(mask)) for mask in masks]
    write_whole(folder / "attributes.json", json.dumps(attributes(film, areas), indent=1) + "\n")


def _quality(film: Film) -> int:
    # The quality follows from the seed, so that rendering again gives the same bytes.
    rng = np.random.default_rng((film.scene.seed, 5))
    return int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))


def _encoded(image: np.ndarray, quality: int | None) -> bytes:
    buffer = io.BytesIO()
    if quality is None:
        Image.fromarray(image).save(buffer, "PNG", compress_level=PNG_LEVEL)
    else:
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def render_workspace(
    root: Path,
    preset: WorldPreset,
    sequences: int = 0,
    expressions: int = 0,
    frames: int = 0,
    workers: int = 1,
    layout: str = "votsr",
    first: int = 0,
) -> list[str]:
    """Render the scenes of a preset from number `first` on into a folder; returns the sequences' names.

    `expressions` is the number of texts a target gets (layouts of boxes hold the first), `frames` the most
    frames a video has; 0 is the preset's own. `workers` is the number of processes; 0: one a core. The
    same arguments give the same bytes, whatever the number of workers.
    """
    one = partial(_render_one, root, preset, expressions, frames, layout)
    # Each scene follows from its seed, so the order of the processes does not matter.
    names = list(in_processes(one, range(first, first + (sequences or preset.sequences)), workers))
    if layout == "votsr":
        write_workspace(root, names)
    return names


def _render_one(
    root: Path, preset: WorldPreset, expressions: int, frames: int, layout: str, index: int
) -> str:
    """Render the scene of this index; returns its sequence's name."""
    film = make_film(preset, index, expressions, frames)
    LAYOUTS[layout](root, film)
    return film.name
