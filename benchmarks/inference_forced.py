"""Published shapes with random weights for `python -m benchmarks inference --shape published`.

Times do not depend on the values of weights, but on the lengths of answers and on what a tracker does with
them. So all computation of the models takes place, and its outcome is replaced by a script: the answers and
masks of the ground truth. Answers have the length of a box, drafts are accepted as often as those of the
small models, and trackers see what they would see of models that are right.

- A forward hook of the grounder sets the most probable tokens (`ForcedTokens`), so that decoding takes as
  many steps as for real answers.
- `ForcedGrounding` and `ForcedMasking` replace answers and masks by those of the script.
- `generate` of the published loop is forced to write the script's answers.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training_work import save_random
from data_prep.contract.chat import answer_text
from data_prep.contract.contract import BUILT_IN, Contract, trained_contract, write_contract
from data_prep.contract.formats import AnswerFormat
from data_prep.contract.images import search_size
from data_prep.geometry import Box, box_of_mask, rescale
from data_prep.sequence import Sequence as Video
from data_prep.votsr.truth import read_truth
from models.families import FAMILIES, PUBLISHED_SIZES
from models.grounder.nano import build_grounder, build_processor
from models.interfaces import Answer, FrameFeatures, MaskResult, Question, TargetMemory
from models.mask_head.sam2_model import build_model, nano_config, published_config, save_sam2
from models.mask_head.sam2_model import build_processor as build_sam2_processor

GROUNDER, MASK_HEAD = "qwen2_5_vl_3b", "sam2_1_large"
STEPS = 15  # tokens of an answer without a draft, from its first number: 3 digits and a separator each
# Share of the digits of a draft that the model does not agree with, about as of the small models.
DISAGREEMENT = 0.15
CERTAIN_LOGIT = 1e4
VISIBLE, ABSENT, BOX_CONFIDENCE = 0.97, 0.02, 0.9
THINNED = 8  # every so many rows and columns of a frame identify it


def save_models(root: Path, shape: str) -> tuple[str, str]:
    """Write a grounder and a mask head with random weights; returns their folders.

    `shape` is `published` (Qwen2.5-VL-3B and SAM 2.1 large) or `tiny`, for tests.
    """
    grounder, mask_head = root / "grounder", root / "mask_head"
    torch.manual_seed(0)
    if shape == "tiny":
        processor = build_processor()
        build_grounder(processor, width=32, layers=1, vision_layers=2).save_pretrained(grounder)
        processor.save_pretrained(grounder)
        contract, config = BUILT_IN["short"], nano_config(64)
    else:
        save_random(GROUNDER, grounder)
        family = FAMILIES[PUBLISHED_SIZES[GROUNDER].model_type]
        wide = trained_contract(BUILT_IN[family.contract])
        # Every search frame is as large as the contract allows.
        contract, config = replace(wide, min_pixels=wide.max_pixels), published_config(MASK_HEAD)
    write_contract(grounder, contract)
    model = build_model(config)
    with torch.no_grad():  # it believes every target present
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(3.0)
    save_sam2(mask_head, model, build_sam2_processor(config))
    return str(grounder), str(mask_head)


@dataclass(frozen=True)
class Scripted:
    """The truth of one frame: the target's box in pixels and its mask, None where it is absent."""

    box_xyxy: Box | None
    mask: np.ndarray | None


class Script:
    """The truth of all frames, found by their pixels: the engine hands on images without their numbers."""

    def __init__(self, videos: Sequence[Video]) -> None:
        self._frames: dict[int, Scripted] = {}
        for video in videos:
            truth = read_truth(video)
            assert truth is not None, "rendered videos have a truth"
            masks = {each.index: each.mask for each in truth.annotated()}
            for index, image in enumerate(video.frames):
                mask = masks.get(index)
                box = None if mask is None else box_of_mask(mask)
                self._frames[_key(image)] = Scripted(box, mask if box is not None else None)

    def of(self, image: np.ndarray) -> Scripted:
        """The truth of a frame, RGB uint8."""
        return self._frames[_key(image)]

    def answer(self, image: np.ndarray, contract: Contract) -> str:
        """The text of the answer about a frame, after its fixed start."""
        box, size = self.of(image).box_xyxy, (image.shape[1], image.shape[0])
        resized = search_size(contract, size)
        return answer_text(contract, None if box is None else rescale(box, size, resized), resized, size)


def _key(image: np.ndarray) -> int:
    return zlib.crc32(image[::THINNED, ::THINNED].tobytes())


class ForcedTokens:
    """A forward hook that sets the most probable token behind each token.

    It is the one that follows in the input, as long as there is one: a draft is accepted, but for some of its
    digits. Behind the last token of a draft the box is closed. Without a draft, `STEPS` arbitrary tokens
    follow one another, then the box is closed.
    """

    def __init__(self, tokenizer: Any, answer_format: AnswerFormat, vocabulary: int) -> None:
        def ids_of(text: str) -> list[int]:
            ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
            return ids

        digits = [ids_of(str(digit))[-1] for digit in range(10)]
        closing = ids_of(answer_format.box_end)[0]
        begin = ids_of(answer_format.forced_prefix)[-1]
        # Tokens that occur nowhere else in an answer.
        used = {begin, closing, *digits, *ids_of(answer_format.render("1, 2,3"))}
        letters = [index for index in range(len(tokenizer)) if index not in used]
        plain = [index for index in letters if not set("[]`{}") & set(tokenizer.decode([index]))][:STEPS]
        self.successor = torch.full((vocabulary,), closing)
        self.successor[[begin, *plain]] = torch.tensor([*plain, closing])
        self.other_digit = torch.full((vocabulary,), -1)
        self.other_digit[digits] = torch.tensor([*digits[1:], digits[0]])

    def to(self, device: torch.device) -> "ForcedTokens":
        """Move the tables to a device."""
        self.successor, self.other_digit = self.successor.to(device), self.other_digit.to(device)
        return self

    def __call__(self, _: Any, __: Any, values: dict[str, Any], output: Any) -> Any:
        """Set the logits (batch, columns, vocabulary) of the output, in place."""
        columns, ids = output.logits.shape[1], values["input_ids"]
        mask = values["attention_mask"]
        ids, is_token = ids[:, -columns:], mask[:, -columns:].bool()
        # 1. What follows each token in the input: (batch, columns), none behind the last.
        following, follows = ids.roll(-1, dims=1), is_token.roll(-1, dims=1)
        follows[:, -1] = False
        # 2. Some of the digits are others. Which ones depends on their place and value only.
        places = mask.sum(1, keepdim=True) + torch.arange(columns, device=ids.device)
        others = self.other_digit[following]
        differs = (others >= 0) & ((following * 7 + places * 13) % 100 < 100 * DISAGREEMENT)
        targets = torch.where(follows, torch.where(differs, others, following), self.successor[ids])
        output.logits.scatter_(-1, targets[..., None], CERTAIN_LOGIT)
        return output


class ForcedGrounding:
    """A grounder that computes its answers, and gives those of a script.

    Implements `models.interfaces.Grounding`.
    """

    def __init__(self, grounder: Any, script: Script) -> None:
        self.grounder, self.script = grounder, script
        self.model, self.contract, self.statistics = grounder.model, grounder.contract, grounder.statistics
        self.check_expression, self.identity = grounder.check_expression, grounder.identity
        forced = ForcedTokens(
            grounder.tokenizer, self.contract.format, self.model.config.get_text_config().vocab_size
        )
        self.model.register_forward_hook(forced.to(grounder.device), with_kwargs=True)

    def locate(self, questions: Sequence[Question]) -> list[Answer]:
        """See `Grounding`."""
        computed = self.grounder.locate(questions)
        return [self._answer(*each) for each in zip(questions, computed, strict=True)]

    def _answer(self, question: Question, computed: Answer) -> Answer:
        box = self.script.of(question.image).box_xyxy
        if box is None:
            return replace(computed, visible=ABSENT, box_xyxy=None, box_confidence=0.0)
        return replace(computed, visible=VISIBLE, box_xyxy=box, box_confidence=BOX_CONFIDENCE)


class ForcedMasking:
    """A mask head that computes its masks, and gives those of a script.

    Implements `models.interfaces.Masking`.
    """

    def __init__(self, mask_head: Any, script: Script) -> None:
        self.mask_head, self.script = mask_head, script
        self.model, self.identity = mask_head.model, mask_head.identity

    def encode(self, frame: np.ndarray) -> FrameFeatures:
        """See `Masking`."""
        return self.mask_head.encode(frame), self.script.of(frame)

    def segment(
        self, features: FrameFeatures, boxes_xyxy: Sequence[Box], memories: Sequence[TargetMemory | None]
    ) -> list[MaskResult]:
        """See `Masking`."""
        computed, scripted = features
        return self._forced(self.mask_head.segment(computed, boxes_xyxy, memories), scripted)

    def propagate(self, memories: Sequence[TargetMemory], features: FrameFeatures) -> list[MaskResult]:
        """See `Masking`."""
        computed, scripted = features
        return self._forced(self.mask_head.propagate(memories, computed), scripted)

    def _forced(self, results: Sequence[MaskResult], scripted: Scripted) -> list[MaskResult]:
        score = ABSENT if scripted.mask is None else VISIBLE
        return [replace(each, mask=scripted.mask, object_score=score, iou=score) for each in results]
