"""The recipe `nano_mask_head`: the small SAM 2, trained from scratch on rendered scenes.

The first stages train on single frames (box to mask), the later ones on clips, in which the target is hidden,
leaves or returns, and the mask is propagated by the memory; small images come before large ones. The model
stays in evaluation mode: it has no dropout, and training computes what tracking computes, up to rounding
(`models.mask_head.sam2_forward`). The data of step n follow from the seed and n.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Sam2ImageProcessor

from data_prep.folders import whole_folder
from models.mask_head.checkpoints import image_side
from models.mask_head.memory_attention import condition_on_memory
from models.mask_head.memory_encoder import encode_memory, start_memory
from models.mask_head.sam2 import MaskHead
from models.mask_head.sam2_forward import (
    MaskDecoderOutput,
    VisionFeatures,
    add_no_memory_embedding,
    decode_masks,
    encode_images,
)
from models.mask_head.sam2_model import (
    build_model,
    build_processor,
    config_of,
    load_sam2,
    nano_config,
    save_sam2,
)
from train.loop.objective import Evaluation, StepMetrics
from train.loop.schedule import warmed_cosine
from train.loop.state_files import saving
from train.scratch.config import MaskHeadRecipe, MaskHeadStage
from train.scratch.mask_head_data import MaskBatch, sample_clips, sample_stills
from train.scratch.mask_head_losses import MaskLosses, mask_losses, mean_losses
from train.scratch.mask_head_metrics import evaluate_mask_head
from train.scratch.stages import EVAL_SET, StagedObjective, train_stages

# Weights that only mask prompts use, and one that the model of transformers never uses.
UNUSED = ("mask_downsample.", "prompt_encoder.mask_embed.", "no_memory_positional_encoding")


@dataclass(frozen=True, eq=False)
class MaskHeadBatch:
    """The data of a step: single frames, or clips.

    `encoded` says for each frame of a clip whether it is added to the memory; None for single frames.
    """

    masks: MaskBatch
    encoded: list[bool] | None


class MaskHeadObjective(StagedObjective[MaskHeadBatch, MaskHeadStage]):
    """The small mask head. Its image size changes from stage to stage."""

    checkpoint_key = "mask_head.checkpoint"

    # ---- model -------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the model of the first stage, whose weights follow from the seed."""
        # Initialised from the recipe's seed, without changing the state of the global generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            self._build(self.recipe.stages[0].image_size)
        if self.recipe.initial:
            self.initial_weights = load_sam2(self.recipe.initial, torch.float32)[0].state_dict()
            self.model.load_state_dict(self.initial_weights)

    def _build(self, image_size: int) -> None:
        """Make a model for an image size, and its optimizer."""
        self.model = build_model(nano_config(image_size))
        # No loss reaches these weights. Frozen, they are neither in checkpoints nor in optimizer states.
        for name, weight in self.model.named_parameters():
            weight.requires_grad_(not name.startswith(UNUSED))
        make_optimizer = partial(torch.optim.AdamW, weight_decay=self.recipe.weight_decay)
        self.strategy.prepare(self.model, make_optimizer, [])
        self.device = self.strategy.accelerator.device

    def _resize(self, image_size: int) -> None:
        """Change the image size of the model; weights and optimizer states do not depend on it."""
        if image_size == image_side(config_of(self.model)):
            return
        weights, optimizer_state = self.model.state_dict(), self.strategy.optimizer.state_dict()
        self._build(image_size)
        self.model.load_state_dict(weights)
        self.strategy.optimizer.load_state_dict(optimizer_state)

    def prepare_resume(self, step: int) -> None:
        """Give the model the image size of the stage in which the checkpoint was written."""
        self._resize(self.stage_at(max(0, step - 1))[0].image_size)

    def save_weights(self, folder: Path, step: int, evaluations: Mapping[str, Mapping[str, Any]]) -> None:  # noqa: ARG002
        """Write the checkpoint that `MaskHead.load` reads, in half precision to be small."""
        side = image_side(config_of(self.model))
        with saving(folder), whole_folder(folder) as temporary:
            save_sam2(temporary, self.with_initial_share(self.model).half(), self._processor(side))

    def _processor(self, image_size: int) -> Sam2ImageProcessor:
        return build_processor(nano_config(image_size))

    # ---- data --------------------------------------------------------------------------------------

    def batches(self, steps: range) -> Iterator[MaskHeadBatch]:
        """Single frames or clips for each step, at random."""
        recipe = self.recipe
        for step in steps:
            stage, _ = self.stage_at(step)
            processor = self._processor(stage.image_size)
            rng = np.random.default_rng((recipe.seed, step))
            if rng.random() < stage.still_share:
                yield MaskHeadBatch(sample_stills(rng, stage, recipe, processor), None)
            else:
                clips = sample_clips(rng, stage, recipe, processor)
                encoded = rng.random(stage.clip_frames) >= recipe.memory_dropout
                yield MaskHeadBatch(clips, [bool(each) for each in encoded])

    # ---- training step -----------------------------------------------------------------------------

    def take_step(self, batch: MaskHeadBatch, step: int) -> StepMetrics:
        """One optimizer step on the weighted sum of the losses."""
        recipe, (stage, index) = self.recipe, self.stage_at(step)
        self._resize(stage.image_size)
        masks = batch.masks.to(self.device)
        losses = self.still_losses(masks) if batch.encoded is None else self.clip_losses(masks, batch.encoded)
        learning_rate = stage.learning_rate * warmed_cosine(index, stage.steps, recipe.warmup_steps)
        self.update(losses.total(recipe), learning_rate, recipe.max_grad_norm)
        return StepMetrics({name: float(part.detach()) for name, part in vars(losses).items()}, learning_rate)

    def evaluate(self, step: int) -> Evaluation:  # noqa: ARG002
        """Metrics on held-out scenes."""
        recipe, side = self.recipe, image_side(config_of(self.model))
        head = MaskHead(self.with_initial_share(self.model).eval(), self._processor(side))
        return Evaluation([(EVAL_SET, evaluate_mask_head(head, recipe.held_out, recipe.evaluate_scenes))])

    def still_losses(self, batch: MaskBatch) -> MaskLosses:
        """Losses of single frames; all boxes of a frame are decoded at once."""
        vision = encode_images(self.model, batch.pixels[0])
        decoded = decode_masks(
            self.model, vision, add_no_memory_embedding(self.model, vision), batch.boxes_resized
        )
        return self._losses(batch, 0, decoded)

    def clip_losses(self, batch: MaskBatch, encoded: list[bool]) -> MaskLosses:
        """Losses of clips, averaged over their frames; `encoded` says which frames are added to the memory.

        The first frame always is. Gradients flow through the memory to earlier frames.
        """
        model, targets = self.model, batch.boxes_resized.shape[1]
        # 1. All frames of all clips in one forward pass of the vision encoder. Afterwards every target is a
        #    row of its own, since a memory belongs to one target: (T, B, 3, S, S) -> T times (B * P, C, h, w)
        frames = _frames(encode_images(model, batch.pixels.flatten(0, 1)), len(batch.pixels), targets)
        # 2. The first frame: a box prompt, and no memory yet.
        decoded = decode_masks(
            model,
            frames[0],
            add_no_memory_embedding(model, frames[0]),
            batch.boxes_resized.flatten(0, 1)[:, None],
        )
        losses, memory = [self._losses(batch, 0, decoded)], start_memory(model, frames[0], decoded)
        # 3. Each later frame: attend to the memory, decode without a prompt, add the result to the memory.
        for index, vision in enumerate(frames[1:], start=1):
            decoded = decode_masks(model, vision, condition_on_memory(model, vision, memory), None)
            losses.append(self._losses(batch, index, decoded))
            if encoded[index]:
                memory = memory.with_frame(encode_memory(model, vision, decoded, had_box=False)[0])
            else:
                memory = memory.skip_frame()
        return mean_losses(losses)

    def _losses(self, batch: MaskBatch, frame: int, decoded: MaskDecoderOutput) -> MaskLosses:
        # (B, P, h, w) -> (B * P, h, w), (B, P) -> (B * P,)
        masks, present = batch.masks[frame].flatten(0, 1), batch.present[frame].flatten(0, 1)
        return mask_losses(decoded, masks, present, self.recipe)


def _frames(vision: VisionFeatures, count: int, targets: int) -> list[VisionFeatures]:
    """Split the features of T * B images into T frames, and repeat each image for each of its targets.

    `count` is T; a frame has B * `targets` rows.
    """
    levels = zip(*(level.chunk(count, dim=1) for level in vision.levels), strict=True)
    positions = zip(*(code.chunk(count, dim=1) for code in vision.positions), strict=True)
    return [VisionFeatures(*parts).repeated(targets) for parts in zip(levels, positions, strict=True)]


def train_mask_head(recipe: MaskHeadRecipe, out: Path, device: torch.device) -> None:
    """Train to the end of the last stage, or resume an earlier run. Raises Stopped if a signal ended it."""
    train_stages(MaskHeadObjective, recipe, out, device)
