"""Metrics of a mask head on held-out scenes of the rendered world."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.geometry import Box, box_of_mask, clamp, jittered, mask_iou
from data_prep.world.film import SLIVER, render_clip
from data_prep.world.presets import PRESETS
from evaluation.calibration import calibration_error
from evaluation.masks.measures import boundary_measure, boundary_of
from models.interfaces import Masking, MaskResult

FRAME_STRIDE = 7  # the frame of scene n is number 7 n modulo its length, so that scenes differ in time too


@dataclass(frozen=True)
class MaskHeadMetrics:
    """Means over held-out scenes.

    `box_iou` is the IoU of the mask of an imprecise box, and `box_boundary` its boundary measure F. The
    others are of clips that start with such a box: `carried_iou` and `carried_boundary` are IoU and F on
    later frames that show the target, `presence` the accuracy of visible or absent on later frames, and
    `absent_silent` the share of frames without the target that get no mask (1 if there are no such frames).

    `iou_error` is the calibration error of the predicted IoU, over all masks of both kinds, and `score_error`
    that of the object score on later frames.
    """

    box_iou: float
    box_boundary: float
    carried_iou: float
    carried_boundary: float
    presence: float
    absent_silent: float
    iou_error: float
    score_error: float

    def __str__(self) -> str:
        return "  ".join(f"{name} {value:.3f}" for name, value in vars(self).items())


@dataclass(frozen=True)
class FrameFigures:
    """The figures of one target in one frame.

    `shown` says whether the target is visible in it. `iou` and `boundary` compare its mask with the true one,
    `found` says whether there is a mask, and `object_score` and `predicted_iou` are the mask head's own.
    """

    shown: bool
    found: bool
    iou: float
    boundary: float
    object_score: float
    predicted_iou: float


def evaluate_mask_head(
    head: Masking, preset_name: str, scenes: int, frames: int = 31, jitter: float = 0.1
) -> MaskHeadMetrics:
    """Evaluate on `scenes` single frames, and on a quarter as many clips of `frames` frames.

    `jitter` is the largest shift of each side of a box, as a share of its length.
    """
    # Scenes of the preset in their order, so that every evaluation uses the same ones.
    boxes = [figures_of_box(head, preset_name, index, jitter) for index in range(scenes)]
    first = [figures for figures in boxes if figures is not None]
    # Every later frame counts equally, whatever scene it is of.
    later = [
        figures
        for index in range(max(1, scenes // 4))
        for figures in figures_of_clip(head, preset_name, index, frames, jitter)
    ]
    shown, absent = ([each for each in later if each.shown is state] for state in (True, False))
    masks = [each for each in first + shown if each.found]
    return MaskHeadMetrics(
        box_iou=_mean([each.iou for each in first]),
        box_boundary=_mean([each.boundary for each in first]),
        carried_iou=_mean([each.iou for each in shown]),
        carried_boundary=_mean([each.boundary for each in shown]),
        presence=_mean([each.found == each.shown for each in later]),
        absent_silent=_mean([not each.found for each in absent]) if absent else 1.0,
        iou_error=calibration_error(_array([e.predicted_iou for e in masks]), _array([e.iou for e in masks])),
        score_error=calibration_error(
            _array([each.object_score for each in later]), _array([each.shown for each in later])
        ),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _array(values: Sequence[float]) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def frame_figures(result: MaskResult, truth: np.ndarray) -> FrameFigures:
    """The figures of the mask of a frame, whose true mask is given."""
    found = np.zeros_like(truth) if result.mask is None else result.mask
    return FrameFigures(
        shown=bool(np.count_nonzero(truth) >= SLIVER),
        found=result.mask is not None,
        iou=mask_iou(result.mask, truth),
        boundary=boundary_measure(boundary_of(truth), boundary_of(found)),
        object_score=result.object_score,
        predicted_iou=result.iou,
    )


def figures_of_box(head: Masking, preset_name: str, index: int, jitter: float) -> FrameFigures | None:
    """The mask of a box for the target of scene `index`; None if its frame does not show the target."""
    preset = PRESETS[preset_name]
    # `preset.frames[0]` is the length of the shortest scene, so every scene has this frame.
    clip = render_clip(preset.first_seed + index, preset, 1, start=FRAME_STRIDE * index % preset.frames[0])
    truth = clip.masks[0][clip.scene.target]
    box = box_of_mask(truth)
    if box is None or np.count_nonzero(truth) < SLIVER:
        return None
    # The jitter follows from the number of the scene.
    box = clamp(jittered(np.random.default_rng(index), box, jitter), preset.size)
    return frame_figures(head.segment(head.encode(clip.images[0]), [box], [None])[0], truth)


@dataclass(frozen=True, eq=False)
class BoxedClip:
    """Frames of a scene, RGB uint8 (height, width, 3), and a box of the target on the first of them.

    `truths` are its true masks in them, bool (height, width).
    """

    images: list[np.ndarray]
    truths: list[np.ndarray]
    box_xyxy: Box

    def is_clear(self, frame: int) -> bool:
        """Whether the frame shows more than a sliver of the target, or nothing of it."""
        area = np.count_nonzero(self.truths[frame])
        return bool(area == 0 or area >= SLIVER)


def boxed_clip(preset_name: str, index: int, frames: int, jitter: float) -> BoxedClip | None:
    """The first `frames` frames of scene `index` from the one on that shows the target clearly.

    None if the target is never visible.
    """
    preset = PRESETS[preset_name]
    clip = render_clip(preset.first_seed + index, preset)
    truths = [masks[clip.scene.target] for masks in clip.masks]
    areas = np.array([np.count_nonzero(truth) for truth in truths])
    # `argmax` of flags is the index of the first that is set.
    first = int(np.argmax(areas >= areas.max() / 2))
    box = box_of_mask(truths[first])
    if box is None:
        return None
    box = clamp(jittered(np.random.default_rng(index), box, jitter), preset.size)
    part = slice(first, first + frames)
    return BoxedClip(list(clip.images[part]), truths[part], box)


def figures_of_clip(
    head: Masking, preset_name: str, index: int, frames: int, jitter: float
) -> list[FrameFigures]:
    """Track the target of scene `index` from a box on the first of `frames` frames; returns the later ones.

    Frames that show only a sliver of the target count neither as visible nor as absent, and are left out.
    """
    clip = boxed_clip(preset_name, index, frames, jitter)
    if clip is None:
        return []
    memory = head.segment(head.encode(clip.images[0]), [clip.box_xyxy], [None])[0].memory
    later = []
    for frame in range(1, len(clip.images)):
        result = head.propagate([memory], head.encode(clip.images[frame]))[0]
        memory = result.memory
        if clip.is_clear(frame):
            later.append(frame_figures(result, clip.truths[frame]))
    return later
