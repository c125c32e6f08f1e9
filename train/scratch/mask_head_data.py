"""Training batches for the mask head: rendered frames with masks, and boxes on the first of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from transformers import Sam2ImageProcessor

from data_prep.geometry import Box, box_of_mask, clamp, jittered, rescale
from data_prep.world.draw import draw_frame
from data_prep.world.film import SLIVER
from data_prep.world.presets import PRESETS, TRAINING_SEEDS, WorldPreset
from data_prep.world.scene import Scene, make_scene
from train.scratch.config import MaskHeadRecipe, MaskHeadStage
from train.scratch.crop_windows import CropRule, window_around

CROPS = CropRule(scales=(1.4, 5.0), smallest=0.2, shift=0.08)


@dataclass(frozen=True, eq=False)
class MaskBatch:
    """T frames of B scenes with P targets each; S is the side of the square image.

    `pixels` (T, B, 3, S, S) are normalised. `boxes_resized` (B, P, 4) are boxes xyxy on the first frame, in
    pixels of the square image. `masks` (T, B, P, h, w) hold the share of each cell that the target covers,
    with h = w = S/4 times the recipe's `mask_scale`; `present` (T, B, P) is 1.0 where the target is visible,
    else 0.0.
    """

    pixels: torch.Tensor
    boxes_resized: torch.Tensor
    masks: torch.Tensor
    present: torch.Tensor

    def to(self, device: torch.device) -> "MaskBatch":
        """The same batch on a device."""
        return MaskBatch(*(part.to(device) for part in vars(self).values()))


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """Frames of a scene: their images, a box for each target on the first one, and masks[frame][target]."""

    images: list[np.ndarray]
    boxes_xyxy: list[Box]
    masks: list[list[np.ndarray]]


def sample_stills(
    rng: np.random.Generator, stage: MaskHeadStage, recipe: MaskHeadRecipe, processor: Sam2ImageProcessor
) -> MaskBatch:
    """Sample single frames (T = 1) with `still_boxes` boxes each, some of which hold no object."""
    preset, stills = _preset(rng, stage), list[RenderedClip]()
    # All frames of a batch have one size, so all of them are crops or none is.
    crop_side = processor.size["height"] if stage.crop_share and rng.random() < stage.crop_share else None
    while len(stills) < stage.still_batch:
        count = min(recipe.scene_frames, stage.still_batch - len(stills))
        stills += _stills(rng, preset, recipe, count, crop_side)
    return _batch(stills, recipe, processor)


def sample_clips(
    rng: np.random.Generator, stage: MaskHeadStage, recipe: MaskHeadRecipe, processor: Sam2ImageProcessor
) -> MaskBatch:
    """Sample clips of `clip_frames` frames with `clip_targets` targets that the first frame shows."""
    preset = _preset(rng, stage)
    return _batch([_clip(rng, preset, stage, recipe) for _ in range(stage.clip_batch)], recipe, processor)


def _preset(rng: np.random.Generator, stage: MaskHeadStage) -> WorldPreset:
    """The preset of a step. All frames of a batch must have the same size, so it is one preset."""
    return PRESETS[str(rng.choice(stage.presets))]


def _scene(rng: np.random.Generator, preset: WorldPreset) -> Scene:
    return make_scene(preset.first_seed + int(rng.integers(TRAINING_SEEDS)), preset)


def _visible(masks: Sequence[np.ndarray]) -> list[int]:
    """Indices of the objects that show more than a sliver."""
    return [index for index, mask in enumerate(masks) if np.count_nonzero(mask) >= SLIVER]


def _stills(
    rng: np.random.Generator,
    preset: WorldPreset,
    recipe: MaskHeadRecipe,
    count: int,
    crop_side: int | None = None,
) -> list[RenderedClip]:
    """Up to `count` frames of a random scene, each of which shows at least one object.

    With `crop_side` they are square crops around an object, resized to that side.
    """
    # 1. Try scenes until a frame shows an object.
    shown = list[tuple[np.ndarray, list[np.ndarray]]]()
    while not shown:
        scene = _scene(rng, preset)
        times = rng.choice(scene.frames, count, replace=False)
        shown = [frame for frame in (draw_frame(scene, int(time)) for time in times) if _visible(frame[1])]
    if crop_side is not None:
        shown = [_crop(rng, image, masks, crop_side) for image, masks in shown]
    return [_still(rng, image, masks, recipe) for image, masks in shown]


def _crop(
    rng: np.random.Generator, image: np.ndarray, masks: list[np.ndarray], side: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A square around a visible object, resized to `side`, with its masks."""
    # 1. The window. It is drawn again where it shows no more than a sliver of every object.
    size = (image.shape[1], image.shape[0])
    visible = _visible(masks)
    while True:
        box = box_of_mask(masks[visible[int(rng.integers(len(visible)))]])
        assert box is not None, "only visible objects are chosen"
        left, top, right, bottom = window_around(rng, box, size, 1.0, CROPS)
        window = slice(top, bottom), slice(left, right)
        # 2. Enlarged masks keep their outlines: the pixels of which at least half is covered.
        filters = cv2.INTER_AREA if right - left > side else cv2.INTER_LINEAR
        parts = [
            cv2.resize(mask[window].astype(np.float32), (side, side), interpolation=filters) >= 0.5
            for mask in masks
        ]
        if _visible(parts):
            return cv2.resize(image[window], (side, side), interpolation=filters), parts


def _still(
    rng: np.random.Generator, image: np.ndarray, masks: list[np.ndarray], recipe: MaskHeadRecipe
) -> RenderedClip:
    """A frame with a box for each target. An empty box has an empty mask as its label."""
    boxes, chosen = [], []
    for index in _targets(rng, _visible(masks), recipe.still_boxes):
        nowhere = _empty_box(rng, masks) if rng.random() < recipe.empty else None
        chosen.append(masks[index] if nowhere is None else np.zeros_like(masks[index]))
        boxes.append(nowhere or _prompt_box(rng, masks[index], recipe.jitter))
    return RenderedClip([image], boxes, [chosen])


def _targets(rng: np.random.Generator, visible: list[int], count: int) -> list[int]:
    """`count` of the visible objects in random order; each comes once before any comes twice."""
    order = [int(index) for index in rng.permutation(visible)]
    return (order * count)[:count]


def _prompt_box(rng: np.random.Generator, mask: np.ndarray, jitter: float) -> Box:
    """The box of a mask, jittered, since the boxes of a grounder are imprecise."""
    box = box_of_mask(mask)
    assert box is not None, "only visible objects get a box"
    return clamp(jittered(rng, box, jitter), (mask.shape[1], mask.shape[0]))


def _empty_box(rng: np.random.Generator, masks: Sequence[np.ndarray]) -> Box | None:
    """A box with almost no object in it; None if a few tries find none."""
    height, width = masks[0].shape
    # Where any object is visible.
    seen = np.logical_or.reduce(masks)
    for _ in range(8):
        wide, high = (int(side) for side in rng.uniform(0.1, 0.3, 2) * height)
        left, top = int(rng.integers(width - wide)), int(rng.integers(height - high))
        if seen[top : top + high, left : left + wide].mean() < 0.02:
            return float(left), float(top), float(left + wide), float(top + high)
    return None


def _clip(
    rng: np.random.Generator, preset: WorldPreset, stage: MaskHeadStage, recipe: MaskHeadRecipe
) -> RenderedClip:
    """Frames of a scene in order. The first one shows the scene's target and enough other objects."""
    leaving = preset.absences.leaves + preset.absences.hides > 0  # otherwise the search below would not end
    passing = leaving and rng.random() < recipe.absence_share
    # 1. Try scenes until the first frame shows the scene's target and enough others.
    while True:
        scene = _scene(rng, preset)
        if passing and not _departures(scene):
            continue
        times = _times(rng, scene, stage, passing)
        first = draw_frame(scene, times[0])
        visible = _visible(first[1])
        if scene.target in visible and len(visible) >= recipe.clip_targets:
            break
    # 2. The scene's target comes first, since the clip was chosen for its departure.
    others = [index for index in _targets(rng, visible, len(visible)) if index != scene.target]
    chosen = [scene.target, *others][: recipe.clip_targets]
    frames = [first, *(draw_frame(scene, time) for time in times[1:])]
    boxes = [_prompt_box(rng, first[1][index], recipe.jitter) for index in chosen]
    return RenderedClip(
        [frame[0] for frame in frames], boxes, [[frame[1][i] for i in chosen] for frame in frames]
    )


def _departures(scene: Scene) -> list[int]:
    """Frames at which the target starts to leave the image or to be hidden."""
    starts = (away.start for away in scene.things[scene.target].absences)
    return [start for start in starts if 0 < start < scene.frames]


def _times(rng: np.random.Generator, scene: Scene, stage: MaskHeadStage, passing: bool) -> list[int]:
    """Ascending frame numbers within `clip_reach`; with `passing` they start shortly before a departure."""
    reach = int(rng.integers(stage.clip_frames, min(stage.clip_reach, scene.frames) + 1))
    start = int(rng.integers(scene.frames))
    # One to four frames before a departure, so that the memory has seen the target.
    if passing:
        start = int(rng.choice(_departures(scene))) - int(rng.integers(1, 5))
    start = min(max(0, start), scene.frames - reach)
    later = rng.choice(np.arange(1, reach), stage.clip_frames - 1, replace=False)
    return [start, *(start + int(gap) for gap in np.sort(later))]


def _batch(clips: Sequence[RenderedClip], recipe: MaskHeadRecipe, processor: Sam2ImageProcessor) -> MaskBatch:
    frames, side = len(clips[0].images), processor.size["height"]
    height, width = clips[0].images[0].shape[:2]
    # 1. All frames of all clips at once: (T * B, 3, S, S), with time as the slower index.
    images = [clip.images[time] for time in range(frames) for clip in clips]
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    # 2. Boxes in pixels of the square image; masks at a multiple of the resolution of the decoder, a quarter.
    boxes = [[rescale(box, (width, height), (side, side)) for box in clip.boxes_xyxy] for clip in clips]
    # (T, B, P, height, width), in the resolution of the frames.
    masks = np.stack([[clip.masks[time] for clip in clips] for time in range(frames)])
    return MaskBatch(
        # (T * B, 3, S, S) -> (T, B, 3, S, S)
        pixels=pixels.unflatten(0, (frames, len(clips))),
        boxes_resized=torch.tensor(boxes, dtype=torch.float32),
        masks=torch.from_numpy(_shares(masks, recipe.mask_scale * side // 4)),
        present=torch.from_numpy((np.count_nonzero(masks, axis=(-2, -1)) >= SLIVER).astype(np.float32)),
    )


def _shares(masks: np.ndarray, side: int) -> np.ndarray:
    """Masks (…, height, width) -> (…, side, side): the share of each cell of a square grid that is set."""
    # OpenCV resizes one mask at a time. As uint8 the mean of a cell would be rounded to 0 or 1.
    flat = masks.reshape(-1, *masks.shape[-2:]).astype(np.float32)
    cells = [cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA) for mask in flat]
    return np.stack(cells).reshape(*masks.shape[:-2], side, side)
