"""The parts of SAM 2's forward pass: image encoder and mask decoder.

Memory attention, which lies between the two, is in `memory_attention`, and what follows in `memory_encoder`.

Training calls these functions, and so does tracking, except on a CPU in float32. There tracking runs equal
operations in another order (`uses_cpu_operations`), and results differ by rounding. The functions are
composed of the modules of transformers' `Sam2VideoModel`. The library's own forward pass processes one target
at a time, and overwrites the mask logits of a target that it predicts to be absent, which stops their
gradient. For one target the results of these functions are bit-identical. EdgeTAM and the tracker of SAM 3
have the same parts under the same names, so the functions serve all three (`VideoModel`).

Shapes: B images or targets in a batch, P boxes in an image, M masks for a box, C channels, S the side of the
square image in pixels, L tokens of a feature map (row-major). S/4 and S/16 are the sides of the finest and
the coarsest map of SAM 2 and EdgeTAM; those of SAM 3's tracker are 2S/7 and S/14.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

if TYPE_CHECKING:  # importing a model's module takes time, and only one of them is needed in a run
    from transformers import EdgeTamVideoModel, Sam2VideoModel, Sam3TrackerVideoModel

VideoModel: TypeAlias = "Sam2VideoModel | EdgeTamVideoModel | Sam3TrackerVideoModel"

ABSENT_LOGIT = -1024.0  # SAM 2 fills the mask of an absent target with it (`NO_OBJ_SCORE` in Meta's code)
BOX_CORNERS = (2, 3)  # SAM 2's point labels of the upper left and the lower right corner of a box
NO_POINT = -1  # label of a padding point
# Devices on which a model in float32 is run with fewer operations than those of the library.
CPU_OPERATION_DEVICES = ("cpu",)


@dataclass(frozen=True, eq=False)
class VisionFeatures:
    """Features of B images, the finest level first: `levels` and their position encodings, (L, B, C) each."""

    levels: tuple[torch.Tensor, ...]
    positions: tuple[torch.Tensor, ...]

    def expanded(self, times: int) -> "VisionFeatures":
        """The features of a single image for `times` targets in it, (L, times, C), without a copy."""
        levels, positions = (
            tuple(level.expand(-1, times, -1) for level in group) for group in (self.levels, self.positions)
        )
        return VisionFeatures(levels, positions)

    def repeated(self, times: int) -> "VisionFeatures":
        """The features with each image repeated, for `times` targets in it: (L, B, C) -> (L, B·times, C)."""
        # The targets of an image are neighbours: image 0 for each of its targets, then image 1.
        levels, positions = (
            tuple(level.repeat_interleave(times, dim=1) for level in group)
            for group in (self.levels, self.positions)
        )
        return VisionFeatures(levels, positions)


@dataclass(frozen=True, eq=False)
class MaskDecoderOutput:
    """The output of the mask decoder for N = B·P targets, before masks of absent targets are removed.

    `logits` (N, M, S/4, S/4) are mask logits, `ious` (N, M) the predicted IoU of each mask, `score` (N,) the
    logit of the object score, and `tokens` (N, M or 1, C) the mask tokens, one for each mask or one for all
    of them. `chosen` (N,) are the indices of the masks that a memory policy has chosen; None: those with the
    highest predicted IoU.
    """

    logits: torch.Tensor
    ious: torch.Tensor
    score: torch.Tensor
    tokens: torch.Tensor
    chosen: torch.Tensor | None = None

    def best(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The mask of each target, that with the highest predicted IoU unless another one was chosen: logits
        (N, S/4, S/4), IoU (N,), token (N, C).
        """
        best = self.ious.argmax(dim=-1) if self.chosen is None else self.chosen
        rows = torch.arange(len(best), device=best.device)
        token = self.tokens[rows, best] if self.tokens.shape[1] > 1 else self.tokens[:, 0]
        return self.logits[rows, best], self.ious[rows, best], token

    def gated(self) -> torch.Tensor:
        """The logits of the best masks, (N, S/4, S/4); `ABSENT_LOGIT` where the object score
        says *absent*.
        """
        return torch.where((self.score > 0)[:, None, None], self.best()[0], ABSENT_LOGIT)


def encode_images(model: VideoModel, pixels: torch.Tensor) -> VisionFeatures:
    """Features of normalised images (B, 3, S, S)."""
    # The library applies the mask decoder's projections of the two finer levels here (`conv_s0`, `conv_s1`),
    # and flattens the maps to (L, B, C).
    output = model.get_image_features(pixels, return_dict=True)
    return VisionFeatures(tuple(output.fpn_hidden_states), tuple(output.fpn_position_encoding))


def uses_cpu_operations(model: VideoModel) -> bool:
    """Whether tracking runs the operations that are written for a CPU instead of those of the library.

    They are in `mask_decoder`, `target_attention` and `map_encoder`. Results differ by rounding. On a GPU
    they would save hardly any time, and in half precision other terms would be rounded.
    """
    return model.device.type in CPU_OPERATION_DEVICES and model.dtype == torch.float32


def add_no_memory_embedding(model: VideoModel, vision: VisionFeatures) -> torch.Tensor:
    """The coarsest features with the embedding of an empty memory, for frames with a box:
    (B, C, S/16, S/16).
    """
    return as_map(model, vision.levels[-1] + model.no_memory_embedding, level=-1)


def decode_masks(
    model: VideoModel, vision: VisionFeatures, coarse: torch.Tensor, boxes_resized: torch.Tensor | None
) -> MaskDecoderOutput:
    """Run the prompt encoder and the mask decoder.

    `coarse` (B, C, S/16, S/16) comes from `add_no_memory_embedding` or from memory attention.
    `boxes_resized` (B, P, 4) are xyxy in pixels of the square image. None: the mask of the target that the
    memory describes (P = 1).
    """
    # 1. Encode the boxes as two labelled points each: sparse (B, P, 2, C), dense (B, C, S/16, S/16).
    points, labels = _no_points(coarse) if boxes_resized is None else box_points(boxes_resized)
    sparse, dense = model.prompt_encoder(points, labels, None, None)
    # 2. Decode. The finer levels of features are added where the decoder upsamples.
    fine = [as_map(model, level, index) for index, level in enumerate(vision.levels[:-1])]
    logits, ious, tokens, score = model.mask_decoder(
        image_embeddings=coarse,
        image_positional_embeddings=model.get_image_wide_positional_embeddings().repeat(len(coarse), 1, 1, 1),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=uses_multimask(model, None if boxes_resized is None else labels),
        high_resolution_features=fine,
    )  # (B, P, …) each
    return MaskDecoderOutput(logits.flatten(0, 1), ious.flatten(0, 1), score.flatten(), tokens.flatten(0, 1))


def uses_multimask(model: VideoModel, labels: torch.Tensor | None) -> bool:
    """Whether several masks are decoded; `labels` (…, points) are those of a prompt, None without one.

    The library's rule goes by the number of points. In the published sizes a box, which has two, gets one
    mask. A propagated target, which has none, gets several.
    """
    prompt: Any = None if labels is None else {"point_labels": labels}
    return bool(model._use_multimask(labels is not None, prompt))


def box_points(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The corners of boxes (B, P, 4) as points (B, P, 2, 2) with labels (B, P, 2)."""
    # (x1, y1, x2, y2) -> ((x1, y1), (x2, y2)).
    points = boxes.unflatten(-1, (2, 2))
    labels = torch.tensor(BOX_CORNERS, dtype=torch.int32, device=boxes.device)
    return points, labels.expand(points.shape[:3])


def _no_points(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One padding point for each of B targets: (B, 1, 1, 2), with labels (B, 1, 1)."""
    points = torch.zeros(len(like), 1, 1, 2, dtype=like.dtype, device=like.device)
    return points, torch.full(points.shape[:3], NO_POINT, dtype=torch.int32, device=like.device)


def as_map(model: VideoModel, tokens: torch.Tensor, level: int) -> torch.Tensor:
    """Tokens of a level as a feature map: (L, B, C) -> (B, C, height, width)."""
    return tokens.permute(1, 2, 0).unflatten(-1, tuple(model.backbone_feature_sizes[level]))
