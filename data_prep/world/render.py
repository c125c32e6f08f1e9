"""Writing a preset of the rendered world as a VOTSr workspace, with its truth."""

import io
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.files import write_whole
from data_prep.votsr.write import sequence_folder, write_sequence, write_truth, write_workspace
from data_prep.world.clip import Clip, render_clip
from data_prep.world.presets import WorldPreset
from data_prep.world.words import prompts_for

FPS = 12.0
JPEG_QUALITY = (60, 95)  # lowest and highest; each sequence has its own


def render_workspace(
    root: Path,
    preset: WorldPreset,
    sequences: int = 0,
    prompts: int = 0,
    frames: int = 0,
    workers: int = 1,
) -> list[str]:
    """Render the first scenes of a preset into a workspace; returns the sequences' names.

    `prompts` is the number of texts a target gets, `frames` the most frames a video has; 0 is the
    preset's own. The same arguments give the same bytes, whatever the number of worker processes.
    """
    sequences, prompts = sequences or preset.sequences, prompts or preset.prompts
    seeds = range(preset.first_seed, preset.first_seed + sequences)
    names = [f"{preset.name}-{index + 1:03d}" for index in range(sequences)]
    one = partial(_render_sequence, root, preset, prompts, frames)
    if workers == 1:
        for seed, name in zip(seeds, names, strict=True):
            one(seed, name)
    else:
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(one, seeds, names))
    write_workspace(root, names)
    return names


def _render_sequence(
    root: Path, preset: WorldPreset, prompts: int, frames: int, seed: int, name: str
) -> None:
    """One sequence: its frames, its text files, and the truth of its target in every frame."""
    clip = render_clip(seed, preset, frames)
    folder = sequence_folder(root, name)
    quality = int(np.random.default_rng((seed, 5)).integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))
    for number, image in enumerate(clip.images, start=1):
        write_whole(folder / "color" / f"{number:08d}.jpg", _jpeg(image, quality))
    write_sequence(folder, prompts_for(clip.scene, prompts), FPS)
    masks = target_masks(clip)
    write_truth(folder / "groundtruth_object1.txt", masks, list(repeat(True, len(masks))), preset.size)


def target_masks(clip: Clip) -> Sequence[np.ndarray | None]:
    """The target's mask in each frame, bool (height, width); None where nothing of it is seen."""
    of_target = (masks[clip.scene.target] for masks in clip.masks)
    return [mask if mask.any() else None for mask in of_target]


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
