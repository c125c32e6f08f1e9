"""Settings of the recipes that train a small model from scratch. Imports nothing heavy."""

from dataclasses import dataclass

from configs.schema import key
from data_prep.config import WORLDS
from models.config import NANO

# ---- grounder ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class GrounderStage:
    """A stage of the curriculum: presets of the rendered world, and the number of steps on them."""

    presets: list[str] = key(
        ["train"],
        "presets of the rendered world; steps take them in turn, evaluations use the first one",
        choices=WORLDS,
    )
    images: int = key(16_000, "images rendered from each preset; each epoch uses every image once", minimum=1)
    steps: int = key(1000, "optimizer steps")
    batch: int = key(16, "images per step")
    questions: int = key(4, "questions about each image of a step")
    learning_rate: float = key(
        1e-3, "peak learning rate; it rises in the warm-up, and falls by half a cosine at the end"
    )
    decay: float = key(
        0.0, "share of the steps, at the end, in which the learning rate falls", minimum=0.0, maximum=1.0
    )
    language: bool = key(
        True, "train on questions; false: train only the vision tower, by the classification of image tokens"
    )
    absent: float = key(0.4, "share of questions whose target is not in the image")
    template: float = key(0.4, "share of questions with a template crop")
    marked: float = key(0.35, "share of images with a visual prompt (a drawn rectangle)")
    plain: bool = key(False, "use only the simplest expressions, in a fixed word order")
    crop_share: float = key(
        0.0,
        "share of the steps on crops around objects instead of whole frames, in all sizes of search images",
        minimum=0.0,
        maximum=1.0,
    )
    crops: int = key(
        400,
        "crops rendered from each preset in each size of search images, if there is a crop_share",
        minimum=1,
    )


@dataclass(frozen=True)
class GrounderRecipe:
    """Training the small grounder from scratch in the rendered world, in stages."""

    name: str = key("nano_grounder", "name of the run and of its folder")
    contract: str = key("short", "prompt contract of the model", choices=("instruct", "short"))
    other_search_sizes: list[str] = key(
        [],
        "further sizes of search images beside that of the contract, as WIDTHxHEIGHT; they are written to "
        "the contract of the model, and learned from crops",
    )
    width: int = key(128, "hidden size of language model and vision tower, a multiple of 32")
    layers: int = key(5, "layers of the language model")
    vision_layers: int = key(4, "layers of the vision tower")
    stages: list[GrounderStage] = key([], "stages, in order")
    initial: str = key("", "folder of initial weights; empty: random weights")
    initial_share: float = key(
        0.0,
        "share of the weights of recipe.initial in those that are evaluated and saved; the rest are trained "
        "ones; a mean of both may be better than either, and keeps more of what the initial ones can do",
        minimum=0.0,
        maximum=1.0,
    )
    seed: int = key(0, "seed of the initial weights and of the order of the data")
    warmup_steps: int = key(50, "warm-up steps at the start of each stage")
    weight_decay: float = key(0.01, "weight decay of AdamW")
    max_grad_norm: float = key(1.0, "norm to which gradients are clipped")
    # Weights of the losses, see `train.scratch.grounder_losses`.
    decision_weight: float = key(3.0, "loss weight of the token that says visible or absent")
    soft_label_std: float = key(
        0.05,
        "standard deviation of the label of a coordinate, in sides of the target; 0: hard labels",
        minimum=0.0,
    )
    sample_answers: bool = key(
        True, "the coordinates that the model reads in training are drawn from their soft labels"
    )
    look_weight: float = key(
        1.0,
        "weight of the auxiliary loss on vision tokens: colour, shape and box edges of what each one shows",
    )
    match_weight: float = key(
        1.0, "weight of the auxiliary loss on image tokens: which of them match the expression"
    )
    named_weight: float = key(
        0.5, "weight of the auxiliary loss on image tokens: which colour and shape the expression names"
    )
    # The comparison needs the result of the copying, so it is on a later layer.
    named_layer: int = key(1, "layer of the language model whose hidden states the loss of named_weight uses")
    match_layer: int = key(3, "layer of the language model whose hidden states the loss of match_weight uses")
    workers: int = key(0, "processes that render images; 0: one per core", minimum=0)
    log_every: int = key(25, "steps between log lines")
    evaluate_every: int = key(500, "steps between evaluations on held-out scenes")
    evaluate_samples: int = key(256, "questions in an evaluation")
    checkpoint_every: int = key(100, "steps between checkpoints")
    keep_checkpoints: int = key(2, "number of newest checkpoints that are kept", minimum=1)
    threads: int = key(2, "CPU threads; 0: torch's default")


SEARCH_SIZES = ["364x196", "280x280", "224x336", "196x364"]
"""Beside that of the contract `short`, 336x224: about as many tokens for videos of other aspects."""

FURTHER_STAGES = [
    # Half of the steps are on crops. At this rate the model is worse on whole frames than before at first; it
    # is better once the rate has fallen.
    GrounderStage(
        presets=["train", "varied", "small"],
        images=3000,
        crops=600,
        crop_share=0.5,
        steps=2300,
        batch=8,
        learning_rate=6e-4,
        absent=0.45,
        marked=0.35,
    ),
    GrounderStage(
        presets=["train", "footage", "varied", "words", "small", "footage"],
        images=1500,
        crops=500,
        crop_share=0.5,
        steps=2100,
        batch=8,
        learning_rate=6e-4,
        decay=0.75,
        absent=0.45,
        marked=0.35,
    ),
]
"""Small targets, crops, other aspects, a world like ordinary video, and more words."""

NANO_GROUNDER = GrounderRecipe(
    stages=[
        GrounderStage(steps=1200, learning_rate=2e-3, language=False),  # classify image tokens
        GrounderStage(steps=300, batch=8, plain=True),  # the simplest expressions
        GrounderStage(steps=3200, batch=8, decay=0.45),  # all expressions
        *FURTHER_STAGES,
    ],
    other_search_sizes=SEARCH_SIZES,
)

NANO_GROUNDER_FURTHER = GrounderRecipe(
    name="nano_grounder_further",
    initial=NANO.checkpoint,
    other_search_sizes=SEARCH_SIZES,
    seed=31,
    stages=FURTHER_STAGES,
    # The heads are new, so their gradients would cover those of the answers at first.
    look_weight=0.25,
    match_weight=0.5,
    named_weight=0.25,
)
"""Further training of trained weights, by the last stages of `NANO_GROUNDER`."""


# ---- mask head ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class MaskHeadStage:
    """A stage: single frames (box to mask), clips (a box on the first frame), or both."""

    image_size: int = key(256, "side in pixels of the square image, a multiple of 32")
    presets: list[str] = key(
        ["train"], "presets of the rendered world; each step takes one of them at random", choices=WORLDS
    )
    steps: int = key(1000, "optimizer steps")
    still_share: float = key(1.0, "share of the steps on single frames; the other steps are on clips")
    still_batch: int = key(8, "single frames per step")
    crop_share: float = key(
        0.0,
        "share of the steps on single frames that show crops around an object, as mask_head.crop makes them",
        minimum=0.0,
        maximum=1.0,
    )
    clip_batch: int = key(3, "clips per step")
    clip_frames: int = key(5, "frames per clip")
    clip_reach: int = key(24, "largest number of video frames that a clip spans")
    learning_rate: float = key(
        3e-4, "peak learning rate; after the warm-up it falls by half a cosine to a tenth"
    )


STAGES = [
    MaskHeadStage(image_size=128, steps=1250, still_share=1.0, still_batch=12),
    MaskHeadStage(image_size=128, steps=1000, still_share=0.15, still_batch=12, clip_batch=4),
    MaskHeadStage(
        image_size=256, steps=4000, still_share=0.55, still_batch=12, clip_batch=2, learning_rate=5e-4
    ),
    MaskHeadStage(
        image_size=288,
        presets=["train", "train", "train", "varied", "varied", "small"],
        steps=520,
        still_share=0.72,
        still_batch=10,
        clip_batch=1,
        clip_frames=16,
        clip_reach=64,
        learning_rate=2e-4,
    ),
    MaskHeadStage(
        image_size=288,
        presets=["train", "train", "varied", "varied", "small"],
        steps=900,
        still_share=0.85,
        still_batch=10,
        crop_share=0.6,
        clip_batch=1,
        clip_frames=12,
        clip_reach=48,
    ),
    MaskHeadStage(
        image_size=288,
        presets=["train", "varied", "footage", "footage", "small"],
        steps=700,
        still_share=0.75,
        still_batch=10,
        crop_share=0.55,
        clip_batch=1,
        clip_frames=12,
        clip_reach=48,
    ),
]
"""From small images, whose steps are fast, to large ones, long clips and crops. Weights do not depend on the
image size. The shipped weights continue from older ones with the last three stages, one run each.
"""


@dataclass(frozen=True)
class MaskHeadRecipe:
    """Training the small mask head from scratch in the rendered world: box to mask, then clips."""

    name: str = key("nano_mask_head", "name of the run and of its folder")
    stages: list[MaskHeadStage] = key(STAGES, "stages, in order")
    initial: str = key("", "folder of initial weights; empty: random weights")
    initial_share: float = key(
        0.0,
        "share of the weights of recipe.initial in those that are evaluated and saved; the rest are trained "
        "ones; a mean of both may be better than either, and keeps more of what the initial ones can do",
        minimum=0.0,
        maximum=1.0,
    )
    held_out: str = key("val", "preset of the rendered world to evaluate on", choices=WORLDS)
    seed: int = key(0, "seed of the initial weights and of the order of the data")

    # Data of a step.
    still_boxes: int = key(5, "boxes on each single frame")
    scene_frames: int = key(
        2,
        "single frames of a step that show the same scene at different times; the background of a scene, the "
        "slowest part of rendering, is painted once for all of them",
        minimum=1,
    )
    mask_scale: int = key(
        2,
        "resolution of the true masks in training, as a multiple of the decoder's, a quarter of the image's; "
        "logits are enlarged to it",
        minimum=1,
        maximum=4,
    )
    empty: float = key(0.1, "share of the boxes of single frames that hold no object; their target is absent")
    jitter: float = key(0.12, "largest shift of each side of a box, as a share of the side's length")
    clip_targets: int = key(2, "targets per clip")
    absence_share: float = key(
        0.6, "share of clips that start shortly before their target leaves the frame or is hidden"
    )
    memory_dropout: float = key(0.2, "probability with which a frame of a clip is not added to the memory")

    warmup_steps: int = key(200, "warm-up steps at the start of each stage")
    weight_decay: float = key(0.01, "weight decay of AdamW")
    max_grad_norm: float = key(1.0, "norm to which gradients are clipped")
    # Weights of the losses. SAM 2 weighs its focal loss 20 times as much as its dice loss.
    bce_weight: float = key(5.0, "loss weight of the binary cross-entropy of the mask")
    boundary_weight: float = key(
        0.5,
        "loss weight of the same cross-entropy near the true boundary only, where all targets weigh the same",
    )
    boundary_width: int = key(
        2,
        "cells of the true mask (see mask_scale) on each side of its boundary to which boundary_weight "
        "applies",
        minimum=1,
    )
    dice_weight: float = key(1.0, "loss weight of the dice loss of the mask")
    score_weight: float = key(1.0, "loss weight of the binary cross-entropy of the object score")
    iou_weight: float = key(1.0, "loss weight of the L1 distance between predicted and true IoU")

    log_every: int = key(50, "steps between log lines")
    checkpoint_every: int = key(100, "steps between checkpoints")
    keep_checkpoints: int = key(2, "number of newest checkpoints that are kept", minimum=1)
    evaluate_every: int = key(500, "steps between evaluations on held-out scenes")
    evaluate_scenes: int = key(
        48, "held-out scenes of an evaluation of box to mask; a quarter as many clips are tracked"
    )
    threads: int = key(1, "CPU threads; small models are slower with more; 0: torch's default")
