"""SAM 2 in Meta's own code as the mask head: the package `sam2` with Meta's checkpoints (`.pt` files).

The package holds a whole video in one inference state. Here its model is called frame by frame instead, with
the memory of a target as a value, as in `models.mask_head.sam2`. The results are those of
`build_sam2_video_predictor`, except that small holes in masks are not filled (the package does it with a CUDA
kernel).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from transformers import Sam2ImageProcessor

from configs.errors import UserError
from data_prep.geometry import Box, Size
from models.checkpoint import loading
from models.identity import checkpoint_identity
from models.interfaces import Identity, MaskResult
from models.mask_head.checkpoint_checks import KEY, check_sam2_meta_checkpoint
from models.mask_head.memory_bank import FrameMemories, FrameMemory, MemoryBank, MemoryLimits
from models.mask_head.memory_map import MemoryMap
from models.mask_head.meta_checkpoint import Weights, read_meta_weights, recognise_size
from models.mask_head.policy_decisions import decide
from models.mask_head.sam2 import MaskHead
from models.mask_head.sam2_forward import BOX_CORNERS, MaskDecoderOutput

# The number of frames of a video, which streaming does not know. The model uses it only as an upper bound of
# the number of object pointers.
MANY_FRAMES = 1 << 30


@dataclass(frozen=True, eq=False)
class MetaFeatures:
    """The image features of one frame, the finest level first; `frame_size` is (width, height) in pixels.

    `levels` and `positions` are (height·width, 1, channels), and `sizes` the (height, width) of the levels.
    """

    levels: list[torch.Tensor]
    positions: list[torch.Tensor]
    sizes: list[tuple[int, int]]
    frame_size: Size


class Sam2Meta(MaskHead):
    """Meta's model of SAM 2 with memories as values; implements `models.interfaces.Masking`.

    Meta's code chooses the mask of a target itself, so a memory policy that chooses masks is refused.

    The targets of a frame share its image features, and apart from that they are processed one by one:
    Meta's `_track_step` takes one memory. `MaskHead` with converted weights processes them in a batch.

    The weights stay in float32. Another `dtype` is that of autocast, as Meta's examples use it.
    """

    def __init__(
        self, model: Any, processor: Any, checkpoint: str = "", dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(model, processor, checkpoint)
        self._dtype = dtype

    @classmethod
    def load(cls, checkpoint: str, device: torch.device, dtype: torch.dtype = torch.float32) -> Self:
        """Load a `.pt` file of Meta's, or the one of a hub id such as `facebook/sam2.1-hiera-large`.

        Raises UserError where the package is not installed, and where the file does not hold all weights of a
        published SAM 2.
        """
        check_sam2_meta_checkpoint(checkpoint)
        path = Path(checkpoint)
        if not path.is_file():
            with loading(KEY, checkpoint):
                path = _from_hub(checkpoint)
        weights = read_meta_weights(path, KEY)
        yaml = recognise_size(path, weights, KEY).yaml
        with loading(KEY, str(path)):
            model = build_meta_model(yaml, weights).to(device)
        return cls(model, meta_processor(model.image_size), str(path), dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the computation."""
        return self._dtype

    @property
    def image_side(self) -> int:
        """The side in pixels of the square image that a frame is resized to."""
        return int(self.model.image_size)

    def identity(self) -> Identity:
        """What the masks depend on, as of `MaskHead`; `checkpoint` is the file of the weights."""
        weights = checkpoint_identity(self.checkpoint)
        return {"checkpoint": weights, "dtype": str(self.dtype), **self._memory_identity()}

    @torch.inference_mode()
    def encode(self, frame: np.ndarray) -> Any:
        """Image features of a frame, RGB uint8 (height, width, 3), once for all its targets."""
        pixels = self.processor(frame, return_tensors="pt", device=self.model.device)["pixel_values"]
        with self._autocast():
            output = self.model.forward_image(pixels)
            # Each level is flattened, as Meta's modules take it: (1, C, H, W) -> (H·W, 1, C).
            _, levels, positions, sizes = self.model._prepare_backbone_features(output)
        return MetaFeatures(levels, positions, sizes, (frame.shape[1], frame.shape[0]))

    def _segment(
        self, features: Any, boxes_xyxy: Sequence[Box], memories: Sequence[MemoryBank | None]
    ) -> list[MaskResult]:
        boxes = self._resized(boxes_xyxy, features.frame_size)[0]  # (N, 4)
        return [self._segment_box(features, *each) for each in zip(boxes, memories, strict=True)]

    def _segment_box(self, features: Any, box: torch.Tensor, memory: MemoryBank | None) -> MaskResult:
        # (4,) -> (1, 2, 2): the upper left and the lower right corner.
        corners = box.reshape(1, 2, 2)
        labels = torch.tensor([BOX_CORNERS], dtype=torch.int32, device=corners.device)
        points = {"point_coords": corners, "point_labels": labels}
        # A frame with a box does not attend to the memory, as in Meta's predictor, where such a frame is an
        # initial conditioning frame. So the memory is only extended.
        decoded, frame_memory, position = self._step(features, points, None)
        if memory is None:
            # As `MemoryLimits.of` computes them; Meta's model has these numbers as attributes.
            limits = MemoryLimits(self.model.num_maskmem - 1, self.model.max_obj_ptrs_in_encoder - 1)
            bank = MemoryBank.start(limits, position, frame_memory)
        else:
            bank = memory.with_conditioning_frame(frame_memory)
        return self._results(features, decoded, [bank])[0]

    def _propagate(self, memories: Sequence[MemoryBank], features: Any) -> list[MaskResult]:
        results: list[MaskResult] = []
        for memory in memories:
            decoded, frame_memory, _ = self._step(features, None, memory)
            _, (decision,) = decide(self.memory_policy, decoded, [memory])
            results += self._results(features, decoded, [memory.with_decision(decision, frame_memory)])
        return results

    def _step(
        self, features: MetaFeatures, points: Mapping[str, torch.Tensor] | None, memory: MemoryBank | None
    ) -> tuple[MaskDecoderOutput, FrameMemory, torch.Tensor]:
        """Masks of a frame, its memory, and the position encoding of memory maps.

        Exactly one of `points` and `memory` is given.
        """
        with self._autocast():
            # 1. Memory attention, prompt encoder and mask decoder.
            current, outputs, _, _ = self.model._track_step(
                frame_idx=0 if memory is None else memory.clock + 1,
                is_init_cond_frame=memory is None,
                current_vision_feats=features.levels,
                current_vision_pos_embeds=features.positions,
                feat_sizes=features.sizes,
                point_inputs=points,
                mask_inputs=None,
                output_dict={} if memory is None else _as_output_dict(memory),
                num_frames=MANY_FRAMES,
                track_in_reverse=False,
                prev_sam_mask_logits=None,
            )
            # Masks (1, M, S/4, S/4), their IoUs (1, M), the best mask (1, 1, S, S), object pointer (1, C) and
            # object score (1, 1). The other two are masks at full resolution, and the best one at low.
            low_res_multimasks, _, ious, _, high_res_mask, pointer, score = outputs
            # 2. Memory encoder. It adds to `current` the memory map, (1, C, S/16, S/16), and its position
            #    encoding. Meta's memory attention flattens both, so here they are not flattened.
            self.model._encode_memory_in_output(
                features.levels, features.sizes, points, True, high_res_mask, score, current
            )
        # The predictor stores memory maps in bfloat16, so their rounding belongs to the results.
        memory_map = MemoryMap.of(current["maskmem_features"].to(torch.bfloat16))
        frame_memory = FrameMemory(pointer, memory_map)
        # `_track_step` does not return the mask tokens. Nothing reads them from here on, so their field is
        # filled with the pointer.
        decoded = MaskDecoderOutput(low_res_multimasks, ious, score.flatten(), pointer[:, None])
        return decoded, frame_memory, current["maskmem_pos_enc"][-1]

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        with torch.autocast(self.model.device.type, self.dtype, enabled=self.dtype != torch.float32):
            yield


def build_meta_model(yaml: str, weights: Weights | None = None, image_size: int | None = None) -> Any:
    """Meta's model of a published size in evaluation mode on the CPU, with the settings of its predictor.

    `yaml` is the name of a file in the package, such as `configs/sam2.1/sam2.1_hiera_t.yaml`. Without
    `weights` they are random. `image_size` replaces the side of the square image in pixels, 1024. Raises
    RuntimeError where weights are missing, unknown or of another shape.
    """
    import sam2

    # `build_sam2` asks Hydra for the file, which fails while Hydra runs a command of this project.
    config = OmegaConf.load(Path(sam2.__path__[0]) / yaml)
    settings = OmegaConf.merge(config.model, PREDICTOR_SETTINGS)
    if image_size is not None:
        settings.image_size = image_size
    model = instantiate(settings, _recursive_=True).eval()
    if weights is not None:
        model.load_state_dict(weights)
    return model


# What `build_sam2_video_predictor` adds to a yaml, apart from the filling of holes.
PREDICTOR_SETTINGS = {
    "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
    "binarize_mask_from_pts_for_mem_enc": True,
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
}


def meta_processor(image_size: int) -> Sam2ImageProcessor:
    """An image processor of transformers for a size: it resizes and normalises as Meta's code does."""
    mask_size = image_size // 4
    return Sam2ImageProcessor(
        size={"height": image_size, "width": image_size}, mask_size={"height": mask_size, "width": mask_size}
    )


def _from_hub(checkpoint: str) -> Path:
    """Download Meta's file of a hub id. Raises UserError for an id that the package does not know."""
    from huggingface_hub import hf_hub_download
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES

    if checkpoint not in HF_MODEL_ID_TO_FILENAMES:
        raise UserError(
            f"{KEY}={checkpoint}: the package sam2 knows no such hub id; name a .pt file, or one of "
            f"{', '.join(HF_MODEL_ID_TO_FILENAMES)}"
        )
    _, name = HF_MODEL_ID_TO_FILENAMES[checkpoint]
    return Path(hf_hub_download(checkpoint, name))


def _as_output_dict(memory: MemoryBank) -> dict[str, dict[int, dict[str, Any]]]:
    """A memory bank as the outputs of earlier frames, as far as the model reads them."""

    def outputs(frames: FrameMemories) -> dict[int, dict[str, Any]]:
        return {
            time: {
                "maskmem_features": each.features,
                "maskmem_pos_enc": [memory.position],
                "obj_ptr": each.pointer,
            }
            for time, each in frames
        }

    return {
        "cond_frame_outputs": outputs(memory.conditioning_frames),
        "non_cond_frame_outputs": outputs(memory.recent_frames),
    }
