"""The recipe `nano_mask_head`: the small SAM 2, from scratch, on rendered scenes.

First single frames, where a box becomes a mask; then clips, where the mask is carried through the
memory while the target is hidden, leaves and returns; first on small images, then on large ones.
The net stays in evaluation mode: it has no dropout, and so it learns by the very steps that
tracking takes. The loop saves its whole state and goes on from it; what step n sees follows from
the seed and n alone.
"""

from pathlib import Path

import numpy as np
import torch
from transformers import Sam2VideoModel

from models.mask_head.sam2 import MaskHead
from models.mask_head.sam2_forward import (
    MaskDecoderOutput,
    VisionFeatures,
    add_no_memory_embedding,
    condition_on_memory,
    decode_masks,
    encode_images,
    encode_memory,
    start_memory,
)
from models.mask_head.sam2_model import (
    build_model,
    build_processor,
    config_of,
    image_side,
    load_sam2,
    nano_config,
    save_sam2,
)
from train.loop.schedule import warmed_cosine
from train.scratch.config import MaskHeadRecipe, MaskHeadStage
from train.scratch.curriculum import Curriculum
from train.scratch.mask_head_data import MaskBatch, sample_clips, sample_stills
from train.scratch.mask_head_losses import MaskLosses, mask_losses, mean_losses
from train.scratch.mask_head_metrics import MaskHeadMetrics, evaluate_mask_head

# Weights that only a mask prompt would use, and one that transformers' model never reads.
UNUSED = ("mask_downsample.", "prompt_encoder.mask_embed.", "no_memory_positional_encoding")


class MaskHeadTraining(Curriculum[Sam2VideoModel, MaskHeadStage]):
    """The small mask head and where it stands in the curriculum."""

    def __init__(self, recipe: MaskHeadRecipe, out: Path, device: torch.device) -> None:
        super().__init__(recipe, out, device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self._build(recipe.stages[0].image_size)
        if recipe.initial:
            self.model.load_state_dict(load_sam2(recipe.initial, torch.float32)[0].state_dict())

    def _build(self, image_size: int) -> None:
        """A fresh model for an image size, its processor and its optimizer."""
        config = nano_config(image_size)
        self.processor = build_processor(config)
        self.model = torch.nn.Module.to(build_model(config), self.device)
        for name, weight in self.model.named_parameters():
            weight.requires_grad_(not name.startswith(UNUSED))
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, weight_decay=self.recipe.weight_decay)

    def _resize(self, image_size: int) -> None:
        """Go over to another image size; weights and the optimizer's state stay."""
        if image_size == image_side(config_of(self.model)):
            return
        weights, moments = self.model.state_dict(), self.optimizer.state_dict()
        self._build(image_size)
        self.model.load_state_dict(weights)
        self.optimizer.load_state_dict(moments)

    def prepare(self) -> None:
        """Shape the model for the image size of the stage a saved state comes from."""
        self._resize(self.stage_at(max(0, self.step - 1))[0].image_size)

    def save_weights(self, folder: Path) -> None:
        """Write the checkpoint that `MaskHead.load` reads, in half precision to be small."""
        half = build_model(config_of(self.model))
        half.load_state_dict(self.model.state_dict())
        save_sam2(folder, half.half(), self.processor)

    # ---- one step ----------------------------------------------------------------------------

    def take_step(self) -> dict[str, float]:
        """Draw, forward, backward, update; returns the losses before the update."""
        recipe, (stage, index) = self.recipe, self.stage_at(self.step)
        self._resize(stage.image_size)
        rng = np.random.default_rng((recipe.seed, self.step))
        if rng.random() < stage.still_share:
            stills = sample_stills(rng, stage.still_batch, recipe, self.processor)
            losses = self.still_losses(stills.to(self.device))
        else:
            clips = sample_clips(rng, stage.clip_batch, recipe, self.processor)
            remembered = rng.random(recipe.clip_frames) >= recipe.memory_dropout
            losses = self.clip_losses(clips.to(self.device), [bool(each) for each in remembered])
        self.set_rate(stage.learning_rate * warmed_cosine(index, stage.steps, recipe.warmup_steps))
        self.update(losses.total(recipe), recipe.max_grad_norm)
        return {name: float(part.detach()) for name, part in vars(losses).items()}

    def evaluate(self) -> MaskHeadMetrics:
        """Figures on held-out scenes."""
        recipe = self.recipe
        return evaluate_mask_head(
            MaskHead(self.model, self.processor), recipe.held_out, recipe.evaluate_scenes
        )

    def still_losses(self, batch: MaskBatch) -> MaskLosses:
        """Losses of single frames, all boxes of a frame at once."""
        vision = encode_images(self.model, batch.pixels[0])
        decoded = decode_masks(
            self.model, vision, add_no_memory_embedding(self.model, vision), batch.boxes_resized
        )
        return self._losses(batch, 0, decoded)

    def clip_losses(self, batch: MaskBatch, remembered: list[bool]) -> MaskLosses:
        """Losses of clips, the mean over frames; `remembered` says which frames are written to the memory.

        The first frame always is. Gradients flow through the memory to the frames before.
        """
        model, targets = self.model, batch.boxes_resized.shape[1]
        frames = _frames(encode_images(model, batch.pixels.flatten(0, 1)), len(batch.pixels), targets)
        decoded = decode_masks(
            model,
            frames[0],
            add_no_memory_embedding(model, frames[0]),
            batch.boxes_resized.flatten(0, 1)[:, None],
        )
        losses, memory = [self._losses(batch, 0, decoded)], start_memory(model, frames[0], decoded)
        for index, vision in enumerate(frames[1:], start=1):
            decoded = decode_masks(model, vision, condition_on_memory(model, vision, memory), None)
            losses.append(self._losses(batch, index, decoded))
            if remembered[index]:
                memory = memory.with_frame(encode_memory(model, vision, decoded, had_box=False)[0])
            else:
                memory = memory.skip_frame()
        return mean_losses(losses)

    def _losses(self, batch: MaskBatch, frame: int, decoded: MaskDecoderOutput) -> MaskLosses:
        masks, present = batch.masks[frame].flatten(0, 1), batch.present[frame].flatten(0, 1)
        return mask_losses(decoded, masks, present, self.recipe)


def _frames(vision: VisionFeatures, count: int, targets: int) -> list[VisionFeatures]:
    """Features of (T·B) images, frame by frame, each image once for each of its targets."""
    levels = zip(*(level.chunk(count, dim=1) for level in vision.levels), strict=True)
    positions = zip(*(code.chunk(count, dim=1) for code in vision.positions), strict=True)
    return [VisionFeatures(*parts).repeated(targets) for parts in zip(levels, positions, strict=True)]


def run(settings: MaskHeadRecipe, out: Path, device: torch.device, stop: int | None = None) -> None:
    """Train to the end of the recipe, or to step `stop`, or go on where an earlier run of it stopped."""
    MaskHeadTraining(settings, out, device).run(stop)
