"""How good a mask head is on held-out scenes of the rendered world."""

from dataclasses import dataclass

import numpy as np

from data_prep.geometry import box_of_mask, clamp, jittered
from data_prep.world.film import SLIVER, render_clip
from data_prep.world.presets import PRESETS
from models.mask_head.sam2 import MaskHead

TIMES = 7  # box to mask is asked at frame (7·scene) mod length, so that scenes differ in time too


@dataclass(frozen=True)
class MaskHeadMetrics:
    """Means over held-out scenes.

    `box_iou`: IoU of the mask from an imprecise box. `carried_iou`: IoU on later frames that show
    the target, carried from one such box on the first. `presence`: share of later frames where
    "there" or "absent" is right; `absent_silent`: share of frames without the target left without
    a mask (1 where there are none).
    """

    box_iou: float
    carried_iou: float
    presence: float
    absent_silent: float

    def __str__(self) -> str:
        return "  ".join(f"{name} {value:.3f}" for name, value in vars(self).items())


def evaluate_mask_head(
    head: MaskHead, preset_name: str, scenes: int, frames: int = 31, jitter: float = 0.1
) -> MaskHeadMetrics:
    """Judge by `scenes` single frames and a quarter as many clips of `frames` frames."""
    boxes = [_box_iou(head, preset_name, index, jitter) for index in range(scenes)]
    carried = [_carried(head, preset_name, index, frames, jitter) for index in range(max(1, scenes // 4))]
    shown = np.concatenate([row[0] for row in carried])
    silent = np.concatenate([row[1] for row in carried])
    there = shown[:, 1]
    return MaskHeadMetrics(
        box_iou=float(np.mean([value for value in boxes if value is not None])),
        carried_iou=float(shown[:, 0].mean()),
        presence=float(np.concatenate([there, silent]).mean()),
        absent_silent=float(silent.mean()) if silent.size else 1.0,
    )


def mask_iou(found: np.ndarray | None, truth: np.ndarray) -> float:
    """IoU of two masks, bool (height, width); None is an empty mask."""
    if found is None:
        return 0.0
    return float((found & truth).sum() / max(1, (found | truth).sum()))


def _box_iou(head: MaskHead, preset_name: str, index: int, jitter: float) -> float | None:
    """IoU of box to mask for the target of one scene; None where its frame does not show it."""
    preset = PRESETS[preset_name]
    clip = render_clip(preset.first_seed + index, preset, 1, start=TIMES * index % preset.frames[0])
    truth = clip.masks[0][clip.scene.target]
    box = box_of_mask(truth)
    if box is None or np.count_nonzero(truth) < SLIVER:
        return None
    box = clamp(jittered(np.random.default_rng(index), box, jitter), preset.size)
    return mask_iou(head.segment(head.encode(clip.images[0]), box).mask, truth)


def _carried(
    head: MaskHead, preset_name: str, index: int, frames: int, jitter: float
) -> tuple[np.ndarray, np.ndarray]:
    """Carry one scene's target.

    Returns (IoU, called present) for each later frame that shows it, (frames, 2), and for each that
    does not 1.0 where no mask was given, (frames,).
    """
    preset = PRESETS[preset_name]
    clip = render_clip(preset.first_seed + index, preset)
    truths = [masks[clip.scene.target] for masks in clip.masks]
    areas = np.array([np.count_nonzero(truth) for truth in truths])
    first = int(np.argmax(areas >= areas.max() / 2))
    box = box_of_mask(truths[first])
    if box is None:  # a target that never comes: there is nothing to carry
        return np.zeros((0, 2)), np.zeros(0)
    box = clamp(jittered(np.random.default_rng(index), box, jitter), preset.size)
    memory = head.segment(head.encode(clip.images[first]), box).memory
    shown, silent = [], []
    for image, truth, area in list(zip(clip.images, truths, areas, strict=True))[first + 1 : first + frames]:
        result = head.propagate(memory, head.encode(image))
        memory = result.memory
        if area >= SLIVER:
            shown.append((mask_iou(result.mask, truth), float(result.mask is not None)))
        elif area == 0:
            silent.append(float(result.mask is None))
    return np.array(shown).reshape(-1, 2), np.array(silent)
