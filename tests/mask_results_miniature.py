"""A mask data set in miniature, and two trackers' results on it."""

from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.votsr.regions import encode_mask
from tests.dataset_miniature import CAR, DOG, Video, write_frames
from tests.mask_miniature import ids_of, write_json, write_palette

NAMES = [f"{number:05d}" for number in range(5)]
FRAMES = {video.name: NAMES[: len(video.boxes_xywh)] for video in (CAR, DOG)}
ROWS = {"car-1/0": CAR, "car-1/1": CAR, "dog-12/0": DOG}


def write_truth(root: Path) -> Path:
    """Ref-YouTube-VOS: two sentences of the car, one of the dog."""
    told = {"car-1": {"0": ("car", "1"), "1": ("auto", "1")}, "dog-12": {"0": ("dog", "12")}}
    videos = {
        name: {
            "frames": FRAMES[name],
            "expressions": {number: {"exp": text, "obj_id": of} for number, (text, of) in each.items()},
        }
        for name, each in told.items()
    }
    write_json(root / "meta_expressions/train/meta_expressions.json", {"videos": videos})
    for video, number in ((CAR, 1), (DOG, 12)):
        write_frames(root / "train/JPEGImages" / video.name, video, "{:05d}.jpg", 0)
        for frame, name in enumerate(FRAMES[video.name]):
            write_palette(
                root / "train/Annotations" / video.name / f"{name}.png", ids_of((video, number), frame=frame)
            )
    return root


def noisy(video: Video, seed: int) -> list[np.ndarray]:
    """The video's masks moved about, with pixels added, one of them empty."""
    random = np.random.default_rng(seed)
    masks = []
    for frame in range(len(video.boxes_xywh)):
        moved = np.roll(video.mask(frame), random.integers(-2, 3, 2), (0, 1))
        masks.append(moved ^ (random.random(moved.shape) < 0.02))
    masks[random.integers(len(masks))][:] = False
    return masks


def write_pngs(folder: Path, names: list[str], masks: list[np.ndarray], mode: str = "L") -> None:
    folder.mkdir(parents=True)
    for name, mask in zip(names, masks, strict=True):
        Image.fromarray(255 * mask.astype(np.uint8)).convert(mode).save(folder / f"{name}.png")


def write_results(root: Path) -> Path:
    """`Noisy` in pictures of each kind and one in lines, `Perfect` in pictures."""
    for seed, (row, video) in enumerate(ROWS.items()):
        masks, names = noisy(video, seed), FRAMES[video.name]
        if seed == 1:
            lines = "".join(f"{encode_mask(mask)}\n" for mask in masks)
            (root / "Noisy" / "car-1" / "1.txt").write_text(lines)
        else:
            write_pngs(root / "Noisy" / row, names, masks, "L1P"[seed])
        write_pngs(root / "Perfect" / row, names, [video.mask(at) for at in range(len(names))])
    return root
