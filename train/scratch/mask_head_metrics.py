"""Metrics of a mask head on held-out scenes of the rendered world."""

from dataclasses import dataclass

import numpy as np

from data_prep.geometry import box_of_mask, clamp, jittered
from data_prep.world.film import SLIVER, render_clip
from data_prep.world.presets import PRESETS
from models.mask_head.sam2 import MaskHead

FRAME_STRIDE = 7  # the frame of scene n is number 7 n modulo its length, so that scenes differ in time too


@dataclass(frozen=True)
class MaskHeadMetrics:
    """Means over held-out scenes.

    `box_iou` is the IoU of the mask of an imprecise box. The others are of clips that start with such a box:
    `carried_iou` is the IoU on later frames that show the target, `presence` the accuracy of visible or
    absent on later frames, and `absent_silent` the share of frames without the target that get no mask (1 if
    there are no such frames).
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
    """Evaluate on `scenes` single frames, and on a quarter as many clips of `frames` frames.

    `jitter` is the largest shift of each side of a box, as a share of its length.
    """
    # Scenes of the preset in their order, so that every evaluation uses the same ones.
    boxes = [_box_iou(head, preset_name, index, jitter) for index in range(scenes)]
    carried = [_carried(head, preset_name, index, frames, jitter) for index in range(max(1, scenes // 4))]
    # (frames of all scenes, 2): every frame counts equally, whatever scene it is of.
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
    """IoU of two masks, bool (height, width); None stands for an empty mask."""
    if found is None:
        return 0.0
    return float((found & truth).sum() / max(1, (found | truth).sum()))


def _box_iou(head: MaskHead, preset_name: str, index: int, jitter: float) -> float | None:
    """IoU of the mask of a box for the target of one scene; None if its frame does not show the target."""
    preset = PRESETS[preset_name]
    # `preset.frames[0]` is the length of the shortest scene, so every scene has this frame.
    clip = render_clip(preset.first_seed + index, preset, 1, start=FRAME_STRIDE * index % preset.frames[0])
    truth = clip.masks[0][clip.scene.target]
    box = box_of_mask(truth)
    if box is None or np.count_nonzero(truth) < SLIVER:
        return None
    # The jitter follows from the number of the scene.
    box = clamp(jittered(np.random.default_rng(index), box, jitter), preset.size)
    return mask_iou(head.segment(head.encode(clip.images[0]), [box], [None])[0].mask, truth)


def _carried(
    head: MaskHead, preset_name: str, index: int, frames: int, jitter: float
) -> tuple[np.ndarray, np.ndarray]:
    """Track the target of one scene.

    Returns (IoU, whether there is a mask) for each later frame that shows it, (frames, 2), and for each frame
    that does not show it, whether there is no mask, (frames,).
    """
    preset = PRESETS[preset_name]
    clip = render_clip(preset.first_seed + index, preset)
    truths = [masks[clip.scene.target] for masks in clip.masks]
    areas = np.array([np.count_nonzero(truth) for truth in truths])
    # `argmax` of flags is the index of the first that is set.
    first = int(np.argmax(areas >= areas.max() / 2))  # the first frame that shows the target clearly
    box = box_of_mask(truths[first])
    if box is None:  # the target is never visible
        return np.zeros((0, 2)), np.zeros(0)
    box = clamp(jittered(np.random.default_rng(index), box, jitter), preset.size)
    memory = head.segment(head.encode(clip.images[first]), [box], [None])[0].memory
    # Frames that show only a sliver of the target count neither as visible nor as absent.
    shown, silent = [], []
    for image, truth, area in list(zip(clip.images, truths, areas, strict=True))[first + 1 : first + frames]:
        result = head.propagate([memory], head.encode(image))[0]
        memory = result.memory
        if area >= SLIVER:
            shown.append((mask_iou(result.mask, truth), float(result.mask is not None)))
        elif area == 0:
            silent.append(float(result.mask is None))
    return np.array(shown).reshape(-1, 2), np.array(silent)
