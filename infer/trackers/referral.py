"""The referral tracker: search the whole frame, propagate the mask, verify it, search again after a loss.

    SEARCH ── found and confirmed ──▶ TRACK ◀──▶ VERIFY ── lost ──▶ LOST ── found and confirmed ──▶ TRACK

In SEARCH and LOST the grounder is asked about the whole frame. In TRACK the mask head propagates the mask. In
VERIFY the grounder is asked whether the mask is still on the target: every `verify_interval` frames, and when
the mask head is uncertain. It searches a window around the last box, which shows the target larger; where the
target is not visible there, the next question is about the whole frame.

Whether the target is still present is decided by a Bayes filter over all answers (`PresenceFilter`). A single
"not visible" therefore does not lose a target that was clearly visible for long, and a few unsure answers do
lose a target that was never clearly visible.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.schema import key
from data_prep.contract.contract import Contract
from data_prep.geometry import Box, box_of_mask, iou
from infer.trackers.masks import area_ratio, box_or, has_changed, or_filled_box
from infer.trackers.presence import PresenceFilter
from infer.trackers.questions import TrackQuestions
from infer.trackers.registry import register_tracker, thresholds_of
from infer.trackers.requests import Propagate, Reason, Report, Request, Segment, State, Track, Tracker
from models.interfaces import Answer, MaskResult, TargetMemory

# The visible probability of a target whose box the user gave.
GIVEN_BOX_VISIBLE = 0.999


@dataclass(frozen=True)
class ReferralConfig:
    """The tracker of this project: it searches, propagates the mask, verifies it, and searches again."""

    activation_threshold: float | None = key(
        None,
        "visible probability from which a target that was found by searching is tracked; null: that of the "
        "checkpoint's calibration",
    )
    stay_probability: float = key(
        0.96,
        "Bayes filter: probability that the target neither appears nor disappears between two answers",
        minimum=0.5,
        maximum=0.999,
    )
    logit_scale: float | None = key(
        None,
        "Bayes filter: factor by which the log-odds of an answer are multiplied; null: that of the "
        "calibration",
        minimum=0.0,
    )
    logit_bias: float | None = key(
        None,
        "Bayes filter: added to the log-odds of an answer before they are multiplied; above 0 corrects a "
        "grounder whose visible probabilities are too low; null: that of the calibration",
    )
    confirm: bool = key(
        True,
        "ask the grounder again, with the rectangle drawn, before a target that was found is tracked; has no "
        "effect with contracts that do not show the last box, such as those of published Qwen weights",
    )
    search_region: float | None = key(
        None,
        "a question that verifies is about a window of the frame with this many times the sides of the last "
        "box, which shows the target larger; 0: about the whole frame; null: 3 with contracts of fixed sizes "
        "of search images, as that of the small grounder, else 0",
        minimum=0.0,
    )
    min_agreement_iou: float = key(
        0.5,
        "IoU from which two boxes count as the same place: those of the first and the confirming answer, or "
        "those of the grounder and the propagated mask",
    )
    min_box_confidence: float | None = key(
        None,
        "box confidence from which a box of the grounder elsewhere replaces the propagated mask; null: that "
        "of the calibration",
    )
    min_object_score: float = key(0.8, "object score of the mask head below which the grounder is asked")
    max_area_ratio: float = key(
        2.0, "ratio of the areas of two consecutive masks from which the grounder is asked"
    )
    verify_interval: int = key(
        2, "frames between two questions to the grounder while the mask is propagated", minimum=1
    )
    max_search_interval: int = key(
        4,
        "longest interval, in frames, between two questions while the target is not found; it doubles with "
        "each question",
        minimum=1,
    )
    min_frame_change: float = key(
        0.01,
        "mean change of pixel values (0 to 1) from which the grounder is asked before that interval ends",
    )
    verify: str = key(
        "decode",
        "how a propagated mask is verified; decode: the grounder's box is always decoded; score: where the "
        "grounder gives the box of the mask a probability of min_draft_probability, the mask is kept and no "
        "box is decoded, which is faster and may change results",
        choices=("decode", "score"),
    )
    min_draft_probability: float = key(
        0.35,
        "verify=score: probability of the mask's box (geometric mean over its digits) from which it is kept",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass(frozen=True)
class Detection:
    """A target that was found: its mask and memory, its box, and the visible probability of the answer.

    `reasons` say how it was found.
    """

    result: MaskResult
    box_xyxy: Box
    visible: float
    reasons: tuple[Reason, ...]


@register_tracker(referral=ReferralConfig())
def referral_tracker(config: ReferralConfig, contract: Contract) -> Tracker:
    """The tracker of this project; `contract` says how templates are cut."""
    if config.search_region is not None and 0 < config.search_region < 1:
        raise UserError(
            f"tracker.search_region={config.search_region:g}: windows would be smaller than the target; "
            "give 0 or at least 1"
        )

    def start(expression: str, frame: np.ndarray, box_xyxy: Box | None = None) -> Track:
        return _ReferralTrack(expression, config, contract).run(frame, box_xyxy)

    return start


class _ReferralTrack:
    """One track. Its only state beside the generators' is the template in its questions."""

    def __init__(self, expression: str, config: ReferralConfig, contract: Contract) -> None:
        self.config = config
        self.questions = TrackQuestions(expression, contract, config.search_region)
        self.thresholds = numbers = thresholds_of(config)
        self.presence = PresenceFilter(config.stay_probability, numbers.logit_scale, numbers.logit_bias)

    def run(self, frame: np.ndarray, box_xyxy: Box | None) -> Track:
        """Search, track until the target is lost, and search again, without end."""
        report = Report(State.SEARCH)
        found = None if box_xyxy is None else (yield from self._segment_given_box(frame, box_xyxy))
        while True:
            # 1. Find the target, unless its first box was given.
            if found is None:
                found, frame = yield from self._search(frame, report)
            # 2. Cut the template where the target was found first. It is kept for the rest of the track.
            self.questions.cut_template(frame, found.box_xyxy)
            # 3. Propagate the mask until the target is lost, then search from the frame at which it was lost.
            frame, report = yield from self._propagate(frame, found)
            found = None

    def _segment_given_box(self, frame: np.ndarray, box_xyxy: Box) -> Generator[Request, Any, Detection]:
        """The target in a box that the user gave."""
        result: MaskResult = yield Segment(box_xyxy)
        result = or_filled_box(result, box_xyxy, frame)
        return Detection(result, box_xyxy, GIVEN_BOX_VISIBLE, (Reason.BOX_GIVEN,))

    def _search(
        self, frame: np.ndarray, report: Report
    ) -> Generator[Request, Any, tuple[Detection, np.ndarray]]:
        """Report absence until the target is found. Returns the detection and its frame, not yet reported.

        The interval between questions doubles up to `max_search_interval`, which saves most of the cost of
        long absences. A frame that differs from the last one asked about ends it. `report` has the state, and
        what is known of the first frame.
        """
        interval, frames_since, asked_frame = 1, 0, None
        while True:
            frames_since += 1
            is_due = frames_since >= interval
            if is_due or has_changed(asked_frame, frame, self.config.min_frame_change):
                because = (*report.reasons, Reason.DUE if is_due else Reason.FRAME_CHANGED)
                found, visible = yield from self._detect(frame)
                if isinstance(found, Detection):
                    return replace(found, reasons=(*because, *found.reasons)), frame
                report = replace(report, visible=visible, reasons=(*because, found))
                interval = min(interval * 2, self.config.max_search_interval)
                frames_since, asked_frame = 0, frame
            else:
                report = replace(report, reasons=(Reason.NOT_DUE,))
            frame = yield report
            report = Report(report.state)

    def _detect(self, frame: np.ndarray) -> Generator[Request, Any, tuple[Detection | Reason, float]]:
        """Ask about the whole frame. Returns the detection or why there is none, and the visible probability.

        A wrong detection does lasting harm: the template and the memory of the mask head then show a wrong
        object, and later answers agree with them. It is therefore confirmed before it is tracked.
        """
        # 1. Search the whole frame.
        answer: Answer = yield self.questions.whole()
        if answer.visible < self.thresholds.activation_threshold or answer.box_xyxy is None:
            return Reason.NOT_FOUND, answer.visible
        box, reason = answer.box_xyxy, Reason.FOUND
        # 2. Ask again with the rectangle around the box; both answers must give the same place. Where the
        #    contract does not show the last box, it would be the same question with the same answer.
        if self.config.confirm and self.questions.is_marked:
            second: Answer = yield self.questions.whole(box, draft=box)
            if second.visible < self.thresholds.activation_threshold or second.box_xyxy is None:
                return Reason.NOT_CONFIRMED, second.visible
            if iou(box, second.box_xyxy) < self.config.min_agreement_iou:
                return Reason.CONFIRMED_ELSEWHERE, second.visible
            answer, box, reason = second, second.box_xyxy, Reason.FOUND_AND_CONFIRMED
        # 3. Segment the box; this starts a new memory.
        result: MaskResult = yield Segment(box)
        detection = Detection(or_filled_box(result, box, frame), box, answer.visible, (reason,))
        return detection, answer.visible

    def _propagate(
        self, frame: np.ndarray, found: Detection
    ) -> Generator[Request, Any, tuple[np.ndarray, Report]]:
        """Propagate the mask until the target is lost.

        Returns the frame in which it was lost, and what is known of it: absence, and why.
        """
        result, box, memory = found.result, found.box_xyxy, found.result.memory
        belief = self.presence.evidence(found.visible)
        score = result.object_score
        frame = yield Report(
            State.TRACK, result.mask, box_or(result, box), score, found.visible, found.reasons, belief
        )
        was_not_visible, since_question = False, 0
        while True:
            # 1. Propagate the mask to this frame.
            previous = result
            result = yield Propagate(memory)
            since_question += 1
            # 2. Between questions, as long as nothing speaks against it, report the propagated mask.
            is_due = since_question >= self.config.verify_interval
            why = Reason.DOUBTED_BEFORE if was_not_visible else Reason.DUE if is_due else None
            why = why or self._doubt(previous, result)
            if why is None:
                memory, box, score = result.memory, box_or(result, box), result.object_score
                frame = yield Report(State.TRACK, result.mask, box, score, None, (Reason.NOT_DUE,), belief)
                continue
            # 3. Ask the grounder about a window around the last box, and update the belief. If it was not
            #    visible there, it may have left the window, so the whole frame is searched.
            since_question = 0
            draft, threshold = box_or(result, box), self._accept_draft_from(result)
            if was_not_visible and self.questions.search_region:
                answer: Answer = yield self.questions.whole(None, draft, threshold)
            else:
                answer = yield self.questions.near(frame, box, draft, threshold)
            belief = self.presence.update(belief, answer.visible)
            comparison, agreement = self._compare(answer, result)
            reasons: tuple[Reason, ...] = (why, comparison)
            # 4. Where the grounder gives a place to rely on, segment its box. A box that was accepted without
            #    decoding is that of the propagated mask.
            is_new = threshold is None or (answer.draft_probability or 0.0) < threshold
            is_reliable = comparison in (Reason.SAME_PLACE, Reason.ELSEWHERE)
            if answer.box_xyxy is not None and is_new and is_reliable:
                kept_memory = None if comparison is Reason.ELSEWHERE else memory
                result = yield from self._segment_answer(frame, answer.box_xyxy, result, kept_memory)
            # 5. The target is lost when absence is more probable than presence. Of a single "not visible" it
            #    is lost only if the mask head has no mask either.
            was_not_visible = comparison is Reason.NOT_VISIBLE
            if belief < 0 or (was_not_visible and result.mask is None):
                why = Reason.PRESENCE_BELOW_ZERO if belief < 0 else Reason.MASK_LOST
                reasons = (*reasons, why)
                return frame, Report(State.LOST, None, None, 0.0, answer.visible, reasons, belief, agreement)
            # 6. Frames in which the target is in doubt are not written to the memory of the mask head.
            if not was_not_visible:
                memory, box = result.memory, box_or(result, box)
            score = result.object_score
            frame = yield Report(
                State.VERIFY, result.mask, box, score, answer.visible, reasons, belief, agreement
            )

    def _accept_draft_from(self, result: MaskResult) -> float | None:
        """The probability from which the box of the propagated mask is taken for the answer; None: never."""
        if self.config.verify == "decode" or result.mask is None:
            return None
        return self.config.min_draft_probability

    def _segment_answer(
        self, frame: np.ndarray, box: Box, propagated: MaskResult, memory: TargetMemory | None
    ) -> Generator[Request, Any, MaskResult]:
        """The mask of the grounder's box or the propagated one, whichever has the higher predicted IoU.

        `memory` is the memory up to the previous frame. If the mask of the box is better, this frame becomes
        a conditioning frame of that memory. With None, for a target that was found elsewhere, the
        propagated mask is dropped, and the memory starts anew.
        """
        segmented: MaskResult = yield Segment(box, memory)
        if memory is None:
            return or_filled_box(segmented, box, frame)
        return segmented if segmented.mask is not None and segmented.iou > propagated.iou else propagated

    def _doubt(self, previous: MaskResult, result: MaskResult) -> Reason | None:
        """What the mask head itself gives as reason to ask: no mask, a low score, or a jump of the area."""
        if result.mask is None or previous.mask is None:
            return Reason.NO_MASK
        if result.object_score < self.config.min_object_score:
            return Reason.LOW_OBJECT_SCORE
        # A mask that has jumped to another object usually differs in area.
        has_jumped = area_ratio(previous.mask, result.mask) >= self.config.max_area_ratio
        return Reason.AREA_CHANGED if has_jumped else None

    def _compare(self, answer: Answer, result: MaskResult) -> tuple[Reason, float | None]:
        """The grounder's answer compared with the propagated mask, and the IoU of their boxes."""
        if self.presence.evidence(answer.visible) < 0 or answer.box_xyxy is None:
            return Reason.NOT_VISIBLE, None
        # Without a mask any box is elsewhere: it must start a new memory.
        propagated = box_of_mask(result.mask) if result.mask is not None else None
        if propagated is None:
            return Reason.ELSEWHERE, None
        agreement = iou(propagated, answer.box_xyxy)
        if agreement >= self.config.min_agreement_iou:
            return Reason.SAME_PLACE, agreement
        # A box that only repeats the drawn rectangle says nothing about the target.
        is_sure = answer.box_confidence >= self.thresholds.min_box_confidence
        is_elsewhere = is_sure and not answer.repeats_visual_prompt
        return Reason.ELSEWHERE if is_elsewhere else Reason.UNCERTAIN, agreement
