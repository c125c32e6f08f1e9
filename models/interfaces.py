"""What inference needs of a grounder and of a mask head. Imports no torch.

`Grounding` and `Masking` are the interfaces; `models.grounder.grounder.Grounder` and
`models.mask_head.sam2.MaskHead` implement them. Another backend (a server, another mask head, a scripted one
in a test) implements the methods of the protocol and needs no base class.

Images are RGB uint8 arrays (height, width, 3); boxes are `box_xyxy` in pixels of the image they belong to.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np

from data_prep.contract.contract import Contract
from data_prep.geometry import Box, Size

# The types of features and memories differ between mask heads, and this module imports no torch.
FrameFeatures = Any
"""What a mask head computes of a frame, once for all targets. Only the mask head knows its contents."""
TargetMemory = Any
"""What a mask head remembers of a target, as a value that no call changes. Only the
mask head knows its contents.
"""
Identity = Mapping[str, Any]
"""What the results of a model depend on, in values that JSON can represent."""


@dataclass(frozen=True)
class Question:
    """Where is the target of this expression in this image?

    `image` is the search frame; `template` is a crop of the target from an earlier frame, or None.
    `visual_prompt_xyxy` is the last known box of the target, in pixels of the search frame; None: there is no
    visual prompt. The contract decides whether a rectangle is drawn around it, or a crop is cut around it, or
    neither. `template_box_xyxy` is the target's box in pixels of the template (`crops.template_box`), for
    contracts whose wording names it; None: it is taken to be in the middle.

    `draft_xyxy` is a likely answer, such as the box of the propagated mask, in pixels of the image; None: no
    box is known. It saves decoding steps and does not change the answer, unless `accept_draft_from` is given:
    a draft whose probability is at least that high is taken for the answer without decoding.

    With `drawn` the image is that of a training pair: the visual prompt is in it already. `original` is the
    size (width, height) of the frame that such an image was resized from; None: it was not resized.

    `region_xyxy` is the part of the frame that is searched, at the frame's own resolution; None: the whole
    frame. All boxes, also that of the answer, are in pixels of the frame nevertheless. It has no effect where
    the contract cuts a search crop around the last box.

    `of_track`: it is a question of a track, which is asked about further frames with the same expression and
    template. A grounder may then keep what it has computed of them.
    """

    image: np.ndarray
    expression: str
    template: np.ndarray | None = None
    visual_prompt_xyxy: Box | None = None
    drawn: bool = False
    template_box_xyxy: Box | None = None
    original: Size | None = None
    draft_xyxy: Box | None = None
    accept_draft_from: float | None = None
    of_track: bool = False
    region_xyxy: Box | None = None

    @property
    def marked(self) -> bool:
        """Whether the search image has a visual prompt."""
        return self.drawn or self.visual_prompt_xyxy is not None


@dataclass(frozen=True)
class Answer:
    """The grounder's answer to one question.

    `visible` is the probability that the target is in the image. Of an answer format without a decision
    (R1-Track's) it is the box confidence, and 0 without a box. `box_xyxy` is in pixels of the question's
    image. It is None where no box could be parsed, and where `visible` is too low for one to be decoded; a
    second look may lower `visible` further.
    `box_confidence` is the geometric mean of the probabilities of the box's digits, and of a detector the
    detection's own score; `text` is what was decoded. `repeats_visual_prompt`: the box is no more than the
    rectangle that was drawn in the image.

    `draft_probability` is the confidence that the model has in the question's `draft_xyxy`: the geometric
    mean of the probabilities of its digits, as `box_confidence`. It is None without a draft, and of models
    that cannot verify drafts (`models.families.Family.supports_drafts`).
    """

    visible: float
    box_xyxy: Box | None
    box_confidence: float
    text: str
    repeats_visual_prompt: bool = False
    draft_probability: float | None = None


@dataclass(frozen=True, eq=False)
class MaskResult:
    """The mask head's result for one target in one frame.

    `mask` is bool (height, width) of the frame. It is None where the target is absent: `object_score` is
    below one half, or no pixel is set. `object_score` is the probability that the target is there, `iou` the
    predicted IoU of the mask, both from 0 to 1. `memory` includes this frame.
    """

    mask: np.ndarray | None
    object_score: float
    iou: float
    memory: TargetMemory


@dataclass
class GroundingStatistics:
    """What a grounder has done since the last `reset`.

    `batches` are the forward passes over questions, and `decoding_steps` the later ones over tokens of
    answers, each for all questions of a batch together. `decoded_tokens` are the tokens of all answers. Of
    `drafts` with `draft_tokens` in all, `accepted_draft_tokens` are what decoding without drafts gives, and
    `accepted_drafts` were accepted as a whole. `vision_encodings` counts the images that the vision tower
    encoded, and `prompt_tokens` the tokens of the forward passes over questions, without padding and drafts.
    `shared_tokens` are further tokens of the questions that were not computed, because another question
    begins with them too. `second_looks` of the questions were asked for a second look (`model.second_look`).
    `seconds` holds the time of each part that the backend measures: `preprocess` (resizing, drawing and
    tokenizing), `vision`, `prefill` and `generate`, or `detect` of a detector. On a GPU, whose work is
    asynchronous, they are exact only where the device is synchronised at the end of each part. `around` is
    entered for each part with its name; a caller may set it, to synchronise the device or to mark the part in
    a trace (`profile=true`).

    Of answers that a server generates, `ill_formed_answers` did not have the form of the contract, and
    `retries` counts the requests that were repeated.
    """

    questions: int = 0
    batches: int = 0
    decoding_steps: int = 0
    decoded_tokens: int = 0
    drafts: int = 0
    accepted_drafts: int = 0
    draft_tokens: int = 0
    accepted_draft_tokens: int = 0
    vision_encodings: int = 0
    prompt_tokens: int = 0
    shared_tokens: int = 0
    second_looks: int = 0
    ill_formed_answers: int = 0
    retries: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    around: Callable[[str], AbstractContextManager[object]] = field(default=nullcontext, repr=False)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time that passes in the context to a part."""
        start = time.perf_counter()
        try:
            with self.around(part):
                yield
        finally:
            self.add_seconds(part, time.perf_counter() - start)

    def add_batch(self, drafts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> None:
        """Add a batch, by the tokens of each question's draft (empty: none) and of its answer."""
        self.batches += 1
        self.questions += len(answers)
        self.decoded_tokens += sum(map(len, answers))
        self.drafts += sum(map(bool, drafts))
        self.draft_tokens += sum(map(len, drafts))
        self.accepted_drafts += sum(
            bool(draft) and list(answer[: len(draft)]) == list(draft)
            for draft, answer in zip(drafts, answers, strict=True)
        )

    def add_seconds(self, part: str, seconds: float) -> None:
        """Add to the time of a part."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    def reset(self) -> None:
        """Set all numbers to zero."""
        self.seconds = {}
        for each in fields(self):
            if each.name not in ("seconds", "around"):
                setattr(self, each.name, 0)


class Grounding(Protocol):
    """Finds targets in images."""

    @property
    def statistics(self) -> GroundingStatistics:
        """What the grounder has done so far. It is updated in place; a caller may read and reset it."""
        ...

    @property
    def contract(self) -> Contract:
        """How images are resized, crops are cut and rectangles are drawn for this grounder."""
        ...

    def check_expression(self, expression: str) -> None:
        """Raise UserError for an expression that cannot be asked for."""
        ...

    def locate(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """The answers to questions, in their order."""
        ...

    def identity(self) -> Identity:
        """What the answers depend on: `checkpoint`, `dtype`, and settings of the backend."""
        ...


class Masking(Protocol):
    """Makes masks from boxes, and propagates them from frame to frame."""

    def encode(self, frame: np.ndarray) -> FrameFeatures:
        """The features of a frame, for all targets in it."""
        ...

    def segment(
        self, features: FrameFeatures, boxes_xyxy: Sequence[Box], memories: Sequence[TargetMemory | None]
    ) -> list[MaskResult]:
        """The masks of the targets in boxes (pixels of the frame), one box and one memory for each target.

        Where the memory of a target is None, the memory of its result is a new one. Otherwise it is the
        given one, which ends with the frame before, with this frame as a further conditioning frame.
        """
        ...

    def propagate(self, memories: Sequence[TargetMemory], features: FrameFeatures) -> list[MaskResult]:
        """The masks of targets in the next frame, in the order of their memories.

        The memory of each result includes that frame. A result depends on the memory of its own target
        alone, whichever targets are propagated together.
        """
        ...

    def identity(self) -> Identity:
        """What the masks depend on: `checkpoint` and `dtype`."""
        ...
