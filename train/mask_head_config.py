"""Settings of training a mask head. Imports nothing heavy."""

from dataclasses import dataclass

from configs.schema import key
from data_prep.config import WORLDS


@dataclass(frozen=True)
class MaskHeadStage:
    """A stage of the curriculum: single frames (box to mask), clips (a box on the first frame), or both."""

    image_size: int = key(256, "side in pixels of the square image, a multiple of 32")
    steps: int = key(1000, "optimizer steps")
    still_share: float = key(1.0, "share of the steps that take single frames; the others take clips")
    still_batch: int = key(8, "single frames per step")
    clip_batch: int = key(3, "clips per step")
    learning_rate: float = key(3e-4, "peak learning rate; after a warm-up it falls by a cosine to a tenth")


STAGES = [
    MaskHeadStage(image_size=128, steps=1250, still_share=1.0, still_batch=12),
    MaskHeadStage(image_size=128, steps=1000, still_share=0.15, still_batch=12, clip_batch=4),
    MaskHeadStage(
        image_size=256, steps=4000, still_share=0.55, still_batch=12, clip_batch=2, learning_rate=5e-4
    ),
]
"""From small images to large ones: weights do not depend on the image size."""


@dataclass(frozen=True)
class MaskHeadRecipe:
    """Training the nano mask head in the rendered world: boxes to masks, then clips through the memory."""

    name: str = key("nano_mask_head", "name of the run and of its folder")
    stages: list[MaskHeadStage] = key(STAGES, "the curriculum, in order")
    initial: str = key("", "folder of weights to start from; empty: from scratch")
    presets: list[str] = key(
        ["train"], "presets of the rendered world to train on; each step takes one of them", choices=WORLDS
    )
    held_out: str = key("val", "preset of the rendered world to evaluate on", choices=WORLDS)
    seed: int = key(0, "seed of the weights and of the order of the data")

    still_boxes: int = key(5, "boxes on each single frame")
    empty: float = key(
        0.1, "share of the single frames' boxes without an object, for which the answer is absent"
    )
    jitter: float = key(0.12, "largest shift of each side of a box, as a share of its length")
    clip_targets: int = key(2, "targets per clip")
    clip_frames: int = key(5, "frames per clip")
    clip_reach: int = key(24, "largest number of video frames from which the frames of a clip are drawn")
    passing: float = key(0.6, "share of clips that start where their target leaves the frame or is hidden")
    forget: float = key(0.2, "share of a clip's frames that are not added to the memory")

    warmup_steps: int = key(200, "steps of rising learning rate at the start of each stage")
    weight_decay: float = key(0.01, "weight decay of AdamW")
    clip_norm: float = key(1.0, "largest norm of the gradient")
    bce_weight: float = key(5.0, "loss weight of the mask's cross-entropy")
    dice_weight: float = key(1.0, "loss weight of the mask's dice")
    score_weight: float = key(1.0, "loss weight of the object score's cross-entropy")
    iou_weight: float = key(1.0, "loss weight of the predicted IoU's distance to the true one")

    log_every: int = key(50, "steps between log lines")
    checkpoint_every: int = key(100, "steps between checkpoints")
    evaluate_every: int = key(500, "steps between evaluations on held-out scenes")
    evaluate_scenes: int = key(48, "held-out scenes for box to mask; a quarter as many clips are tracked")
    threads: int = key(1, "CPU threads; small models are slower with more; 0: torch's default")
