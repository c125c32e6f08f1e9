"""The detector of SAM 3 as the grounder: of all objects that a phrase names, the best is the answer.

Carion et al. 2025, "SAM 3: Segment Anything with Concepts" (https://arxiv.org/abs/2511.16719), in the
implementation of transformers (`Sam3Model`). A ViT encodes the frame, and the text encoder of a CLIP encodes
the expression. A DETR then proposes 200 boxes with a score each, and one presence score for the frame, which
is the probability that the expression names anything in it. The score of a detection is the product of its
own score and the presence score.

The detector knows nothing of the target beside the expression: there is no template, and nothing is drawn
on the frame. The last known box only decides between detections with similar scores (`choose`).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchvision.ops import generalized_box_iou
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from configs.errors import UserError
from data_prep.contract.contract import detector_contract
from data_prep.geometry import Box
from models.checkpoint import check_finite
from models.checkpoint_files import GROUNDER_KEY as KEY
from models.config import Sam3DetectorConfig
from models.devices import choose_dtype
from models.grounder.batching import answer_in_batches
from models.grounder.regions import locate_in_regions
from models.grounder.sam3_model import load_model
from models.identity import checkpoint_identity
from models.interfaces import Answer, GroundingStatistics, Identity, Question

MAX_TEXTS = 1024  # expressions whose text features are kept; each takes 32 KiB at the published sizes


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """The features (1, L, C) of an expression, and the mask (1, L) of its tokens; L is 32."""

    features: torch.Tensor
    mask: torch.Tensor


class Sam3Detector:
    """SAM 3's detector of concepts; implements `models.interfaces.Grounding`.

    `visible` of an answer is the score of its detection, and `box_confidence` the detection's own score
    without the presence score. The constructor does not change the model.
    """

    def __init__(
        self, model: Any, processor: Any, config: Sam3DetectorConfig, dtype: torch.dtype = torch.float32
    ) -> None:
        """`dtype` is that of the computation. The weights are float32 (see `load`)."""
        self.model, self.processor, self.config, self.dtype = model, processor, config, dtype
        self.checkpoint, self.batch = config.checkpoint, config.batch
        self.statistics = GroundingStatistics()
        vision, text = model.config.vision_config, model.config.text_config
        self.contract = detector_contract(vision.image_size, vision.backbone_config.patch_size)
        self._wording = self.contract.form(has_template=False, has_last_box=False).wording
        self.max_tokens: int = text.max_position_embeddings
        # What the last questions were about. The arrays are kept, so that no other one gets their ids.
        self._frames: dict[int, tuple[np.ndarray, torch.Tensor]] = {}
        self._texts: dict[str, TextFeatures] = {}
        self._cut: set[str] = set()

    @classmethod
    def load(cls, config: Sam3DetectorConfig, device: torch.device) -> "Sam3Detector":
        """Load a local folder, without any network, or a hub id such as `facebook/sam3`.

        Raises UserError where the checkpoint is missing, incomplete or of another type.
        """
        model, processor = load_model(config.checkpoint, device)
        return cls(model, processor, config, choose_dtype(config.dtype, device))

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        device: torch.device = self.model.device
        return device

    def identity(self) -> Identity:
        """What the answers depend on: the weights (`checkpoint`), `dtype` of the products, and settings."""
        commit = getattr(self.model.config, "_commit_hash", None)
        return {
            "checkpoint": checkpoint_identity(self.checkpoint, commit),
            "dtype": str(self.dtype),
            "box_threshold": self.config.box_threshold,
            "min_score_ratio": self.config.min_score_ratio,
        }

    def check_expression(self, expression: str) -> None:
        """Raise UserError for an expression with a control token of the text encoder.

        An expression of more tokens than the text encoder has positions is cut, with a warning.
        """
        self._token_ids(self._phrase(expression))

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions, at most `batch` at a time, in order.

        A frame is encoded once for all its questions. Frames are recognised by their arrays, which must not
        be changed in place. What was computed of a frame is kept until the next call, because trackers ask
        about it again.

        Where memory runs out, `batch` is halved from then on, with a warning. Answers depend on the size of a
        batch by rounding errors only. Raises NotFiniteError where the model returns NaN or infinity, and
        UserError where memory does not suffice for a single question.
        """
        return locate_in_regions(questions, self._locate_images, self.contract)

    def _locate_images(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions about whole images."""
        images = {id(question.image) for question in questions}
        self._frames = {key: held for key, held in self._frames.items() if key in images}
        self.statistics.questions += len(questions)
        # Matrix products in half precision, everything else in float32. With weights in half precision the
        # boxes would be, too: near the right border of a frame of 1920 pixels, neighbouring numbers of
        # bfloat16 are 7 pixels apart.
        is_half = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=is_half):
            answers, self.batch = answer_in_batches(
                questions, self.batch, self._locate_batch, self._memory_remedy
            )
        return answers

    def _memory_remedy(self) -> str:
        """The keys that reduce the memory of a question, without those that are in use already."""
        is_full = self.dtype == torch.float32 and self.device.type == "cuda"
        return ("model.dtype=bfloat16, " if is_full else "") + "a smaller mask_head= or a larger GPU"

    def _locate_batch(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers to one batch of B questions."""
        # 1. Features of the frames and of the expressions, each computed once.
        frames = torch.cat([self._encode_frame(question.image) for question in questions])  # (B, C, h, w)
        texts = [self._encode_text(self._phrase(question.expression)) for question in questions]
        # 2. Detect N objects for each question: logits (B, N), presence logits (B, 1), boxes (B, N, 4).
        with self.statistics.timed("detect"):
            outputs = self._detect(frames, texts)
            found = (outputs.pred_logits, outputs.presence_logits, outputs.pred_boxes)
            total = sum(float(each.float().sum()) for each in found)  # finite only if all numbers are
        check_finite(KEY, self.checkpoint, self.dtype, "scores and boxes", [total])
        # 3. Scores, and boxes in pixels of each question's image. The threshold keeps all of them.
        sizes = [question.image.shape[:2] for question in questions]
        detected = self.processor.post_process_object_detection(outputs, threshold=-1.0, target_sizes=sizes)
        scores = torch.stack([each["scores"] for each in detected])[..., None]
        own_scores = outputs.pred_logits.sigmoid()[..., None]
        boxes = torch.stack([each["boxes"] for each in detected])
        # 4. To the CPU in one transfer, (B, N, 6).
        numbers = torch.cat([scores, own_scores, boxes], dim=-1).float().cpu()
        return [self._answer(*each) for each in zip(questions, numbers, strict=True)]

    def _detect(self, frames: Any, texts: Sequence[TextFeatures]) -> Any:
        """The output of the DETR for maps of frames (B, C, h, w) and B expressions."""
        self.statistics.batches += 1
        # The model leaves out the last map of the pyramid, and the DETR takes the one before it. The larger
        # ones are for masks. Position encodings depend on the size of the map alone.
        encode_positions = self.model.vision_encoder.neck.position_encoding
        position = encode_positions(frames.shape, frames.device, torch.float32)
        features: Any = torch.cat([text.features for text in texts])  # (B, L, C)
        return self.model(
            vision_embeds=Sam3VisionEncoderOutput(
                fpn_hidden_states=(frames, frames), fpn_position_encoding=(position, position)
            ),
            text_embeds=BaseModelOutputWithPooling(pooler_output=features),
            attention_mask=torch.cat([text.mask for text in texts]),  # (B, L)
        )

    def _answer(self, question: Question, detections: torch.Tensor) -> Answer:
        """The answer from the detections (N, 6) of one question: score, own score, and box."""
        scores, boxes = detections[:, 0], detections[:, 2:]
        best = choose(scores, boxes, question.visual_prompt_xyxy, self.config.min_score_ratio)
        visible, confidence, left, top, right, bottom = detections[best].tolist()
        if visible < self.config.box_threshold:
            return Answer(visible, None, confidence, "")
        return Answer(visible, (left, top, right, bottom), confidence, "")

    # ---- features -------------------------------------------------------------------------------------

    def _encode_frame(self, image: np.ndarray) -> torch.Tensor:
        """The map (1, C, h, w) of a frame, RGB uint8 (height, width, 3), that the DETR attends to."""
        if id(image) not in self._frames:
            # Resized to a square without keeping the aspect ratio, as in SAM 3. The boxes are shares of its
            # sides, so they are scaled by axis.
            with self.statistics.timed("preprocess"):
                pixels = self.processor.image_processor(image, return_tensors="pt", device=self.device)
            with self.statistics.timed("vision"):
                pyramid = self.model.get_vision_features(pixels["pixel_values"]).fpn_hidden_states
            self._frames[id(image)] = image, pyramid[-2]
            self.statistics.vision_encodings += 1
        return self._frames[id(image)][1]

    def _encode_text(self, phrase: str) -> TextFeatures:
        """The features of a noun phrase. They are kept, because it is asked about in every frame."""
        if phrase not in self._texts:
            if len(self._texts) >= MAX_TEXTS:
                self._texts.clear()
            if phrase == self._wording.unnamed:
                warnings.warn(
                    f"the prompt names no target, and SAM 3 does not know what {phrase!r} is; name it in "
                    "prompt=",
                    stacklevel=2,
                )
            # Padded to the full length, as by the processor.
            ids = self._token_ids(phrase)
            padding = [self.processor.tokenizer.pad_token_id] * (self.max_tokens - len(ids))
            input_ids = torch.tensor([ids + padding], device=self.device)
            mask = torch.tensor([[1] * len(ids) + [0] * len(padding)], device=self.device)
            features = self.model.get_text_features(input_ids=input_ids, attention_mask=mask).pooler_output
            self._texts[phrase] = TextFeatures(features, mask)
        return self._texts[phrase]

    def _phrase(self, expression: str) -> str:
        """An expression as the text encoder gets it, without a full stop."""
        return self._wording.named(expression)

    def _token_ids(self, phrase: str) -> list[int]:
        """The tokens of a phrase with those of its begin and end, cut to the positions of the text encoder.

        Raises UserError where the phrase contains a control token.
        """
        tokenizer = self.processor.tokenizer
        for token in sorted(set(tokenizer.all_special_tokens)):
            if token in phrase:
                raise UserError(f"{token} steers the model; leave it out of the prompt")
        ids: list[int] = tokenizer(phrase, verbose=False).input_ids
        if len(ids) <= self.max_tokens:
            return ids
        if phrase not in self._cut:
            self._cut.add(phrase)
            warnings.warn(
                f"{phrase[:60]!r}… has {len(ids)} tokens, and SAM 3 reads {self.max_tokens}: the rest has no "
                "effect; name the target in fewer words",
                stacklevel=2,
            )
        # As Meta's own code cuts: the end token stays.
        return [*ids[: self.max_tokens - 1], ids[-1]]


def choose(scores: torch.Tensor, boxes: torch.Tensor, last_box: Box | None, min_score_ratio: float) -> int:
    """The index of the detection that is the answer, of scores (N,) and boxes (N, 4).

    It is the one with the highest score. If the last known box of the target is given (`last_box`, in the
    same pixels), it is the one nearest to that box, of all detections with at least `min_score_ratio` times
    the highest score. Nearness is the generalized IoU (Rezatofighi et al. 2019,
    https://arxiv.org/abs/1902.09630), which also ranks boxes without an overlap.
    """
    best = int(scores.argmax())
    if last_box is None:
        return best
    nearness = generalized_box_iou(boxes, boxes.new_tensor([last_box]))[:, 0]  # (N, 4), (1, 4) -> (N,)
    return int(nearness.where(scores >= min_score_ratio * scores[best], -torch.inf).argmax())
