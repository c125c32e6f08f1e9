"""The tracker: the state machine of one track, told as a story.

It searches the whole frame until the words are found, lets the mask head carry the mask, asks the
grounder now and then whether this is still the target, and writes absence and searches again when
it is not. Every decision here is about one track; batching is the engine's business.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from configs.schema import key
from data_prep.contract.contract import Contract
from data_prep.contract.images import crop_template
from data_prep.geometry import Box, area, box_of_mask, iou, is_inside, round_box
from infer.trackers.registry import register_tracker
from infer.trackers.requests import Locate, Propagate, Report, Request, Segment, StartTrack, State, Track
from models.interfaces import Answer, MaskResult, TargetMemory

GIVEN = 0.999  # visible probability of a target whose box the user gave
THUMBNAIL = 16  # rows and columns a frame is thinned to when asked whether it changed
MAX_EVIDENCE = 3.0  # log-odds that one answer may add or take
FLOOR = 1e-6  # of a probability, so that its log-odds are finite


@dataclass(frozen=True)
class ReferralConfig:
    """The tracker of this project: search, track, verify, lost, search again."""

    find_above: float = key(0.6, "visible probability from which a candidate found by searching is believed")
    stay: float = key(
        0.96,
        "probability that from one question to the next a target neither comes nor goes",
        minimum=0.5,
        maximum=0.999,
    )
    trust: float = key(
        0.7, "weight of the grounder's log-odds of visible against what was believed", minimum=0.0
    )
    lean: float = key(
        0.4, "log-odds added to the grounder's before they are weighed: above 0 it is held too shy"
    )
    confirm: bool = key(True, "look a second time, with the rectangle drawn, before a candidate is believed")
    agree_iou: float = key(0.5, "box IoU from which two looks, or grounder and mask head, agree")
    move_above: float = key(0.4, "box confidence from which a disagreeing grounder moves the mask")
    sure_above: float = key(0.8, "object score of the mask head below which the grounder is asked")
    area_jump: float = key(2.0, "change of the mask's area, as a factor, at which the grounder is asked")
    verify_every: int = key(2, "frames between questions to the grounder while tracking", minimum=1)
    search_pause: int = key(
        4, "most frames between questions while nothing is found and nothing changes", minimum=1
    )
    wake_change: float = key(
        0.01, "change of the picture, as a share of full brightness, that ends such a pause"
    )


@dataclass(frozen=True)
class Found:
    """The target as the tracker believes it now: mask, box (pixels of the frame) and memory."""

    result: MaskResult
    box_xyxy: Box
    visible: float


@register_tracker(referral=ReferralConfig())
def referral_tracker(settings: ReferralConfig, contract: Contract) -> StartTrack:
    """The tracker of this project, as something that starts tracks."""

    def start(words: str, frame: np.ndarray, box_xyxy: Box | None = None) -> Track:
        return _ReferralTrack(words, settings, contract).run(frame, box_xyxy)

    return start


class _ReferralTrack:
    """One track: its words, its template once there is one, and the rules it goes by."""

    def __init__(self, words: str, settings: ReferralConfig, contract: Contract) -> None:
        self.words, self.settings, self.contract = words, settings, contract
        self.template: np.ndarray | None = None

    def run(self, frame: np.ndarray, box_xyxy: Box | None) -> Track:
        """Search (unless a box is given), carry, lose, search again; one report a frame, for ever."""
        state = State.SEARCH
        found = None if box_xyxy is None else (yield from self._given(frame, box_xyxy))
        while True:
            if found is None:
                found, frame = yield from self._search(frame, state)
            if self.template is None:
                self.template = crop_template(frame, found.box_xyxy, self.contract)
            frame = yield from self._carry(frame, found)
            state, found = State.LOST, None

    def _given(self, frame: np.ndarray, box_xyxy: Box) -> Generator[Request, Any, Found]:
        """The target in a box that is known to hold it."""
        result: MaskResult = yield Segment(box_xyxy)
        return Found(_at_least_box(result, box_xyxy, frame), box_xyxy, GIVEN)

    # ---- searching ---------------------------------------------------------------------------

    def _search(self, frame: np.ndarray, state: State) -> Generator[Request, Any, tuple[Found, np.ndarray]]:
        """Report absence until the words are found; returns what was found and its frame.

        The longer nothing is found, the seldomer the grounder is asked, until the picture changes.
        """
        pause, waited, asked_about = 1, 0, None
        while True:
            visible = None
            waited += 1
            if waited >= pause or _has_changed(asked_about, frame, self.settings.wake_change):
                found, visible = yield from self._look(frame)
                if found is not None:
                    return found, frame
                pause = min(pause * 2, self.settings.search_pause)
                waited, asked_about = 0, frame
            frame = yield Report(state, visible=visible)

    def _look(self, frame: np.ndarray) -> Generator[Request, Any, tuple[Found | None, float]]:
        """Ask about the whole frame; a candidate must be confirmed before it is believed."""
        answer: Answer = yield Locate(self.words, self.template)
        if answer.visible < self.settings.find_above or answer.box_xyxy is None:
            return None, answer.visible
        box = answer.box_xyxy
        if self.settings.confirm:
            second: Answer = yield Locate(self.words, self.template, box)
            if second.visible < self.settings.find_above or second.box_xyxy is None:
                return None, second.visible
            if iou(box, second.box_xyxy) < self.settings.agree_iou:
                return None, second.visible
            answer, box = second, second.box_xyxy
        result: MaskResult = yield Segment(box)
        return Found(_at_least_box(result, box, frame), box, answer.visible), answer.visible

    # ---- carrying ----------------------------------------------------------------------------

    def _carry(self, frame: np.ndarray, found: Found) -> Generator[Request, Any, np.ndarray]:
        """Carry the mask until the target is lost; returns the first frame that is not reported."""
        result, box, memory = found.result, found.box_xyxy, found.result.memory
        frame = yield Report(State.TRACK, result.mask, _box(result, box), result.object_score, found.visible)
        belief = evidence(found.visible, self.settings)
        doubted, since_check = False, 0
        while True:
            previous = result
            result = yield Propagate(memory)
            since_check += 1
            if (
                not doubted
                and since_check < self.settings.verify_every
                and not self._jumped(previous, result)
            ):
                memory, box = result.memory, _box(result, box)
                frame = yield Report(State.TRACK, result.mask, box, result.object_score)
                continue
            since_check = 0
            answer: Answer = yield Locate(self.words, self.template, box)
            belief = updated(belief, answer.visible, self.settings)
            verdict = self._judge(answer, result)
            if answer.box_xyxy is not None and verdict in ("same", "other"):
                before = None if verdict == "other" else memory
                result = yield from self._segment_answer(frame, answer.box_xyxy, result, before)
            doubted = verdict == "gone"
            if belief < 0 or (doubted and result.mask is None):
                return frame
            if not doubted:
                memory, box = result.memory, _box(result, box)
            frame = yield Report(State.VERIFY, result.mask, box, result.object_score, answer.visible)

    def _segment_answer(
        self, frame: np.ndarray, box: Box, carried: MaskResult, memory: TargetMemory | None
    ) -> Generator[Request, Any, MaskResult]:
        """The mask of the grounder's box, or the carried one where the mask head thinks more of it.

        `memory` is of the frames before; the better mask becomes an anchor of it. It is None where the
        target is found somewhere else: then the carried mask counts for nothing.
        """
        segmented: MaskResult = yield Segment(box, memory)
        if memory is None:
            return _at_least_box(segmented, box, frame)
        return segmented if segmented.mask is not None and segmented.iou > carried.iou else carried

    def _jumped(self, previous: MaskResult, result: MaskResult) -> bool:
        """Whether the mask head itself gives cause for doubt: low score, or a leap in the mask's area."""
        if result.mask is None or previous.mask is None or result.object_score < self.settings.sure_above:
            return True
        ratio = float(result.mask.sum()) / max(1.0, float(previous.mask.sum()))
        return not 1 / self.settings.area_jump < ratio < self.settings.area_jump

    def _judge(self, answer: Answer, result: MaskResult) -> str:
        """`same` (the grounder sees the target there), `other` (elsewhere), `unsure` (where) or `gone`."""
        if evidence(answer.visible, self.settings) < 0 or answer.box_xyxy is None:
            return "gone"
        carried = box_of_mask(result.mask) if result.mask is not None else None
        if carried is None:
            return "other"
        if iou(carried, answer.box_xyxy) >= self.settings.agree_iou:
            return "same"
        return "other" if answer.box_confidence >= self.settings.move_above else "unsure"


def _box(result: MaskResult, fallback: Box) -> Box:
    """The box of a result's mask, or where the target was last believed."""
    return (box_of_mask(result.mask) if result.mask is not None else None) or fallback


def _at_least_box(result: MaskResult, box_xyxy: Box, frame: np.ndarray) -> MaskResult:
    """A mask for a box the grounder is sure of: where the mask head finds none, the box itself is filled."""
    if result.mask is not None and area(box_xyxy) > 0:
        return result
    mask = np.zeros(frame.shape[:2], bool)
    size = frame.shape[1], frame.shape[0]
    if is_inside(box_xyxy, size):
        left, top, right, bottom = map(int, round_box(box_xyxy, size))
        mask[top:bottom, left:right] = True
    return replace(result, mask=mask if mask.any() else None)


def _has_changed(before: np.ndarray | None, now: np.ndarray, threshold: float) -> bool:
    """Whether two frames differ: the mean difference of thinned pixels, as a share of full brightness."""
    if before is None:
        return True
    rows, columns = (max(1, side // THUMBNAIL) for side in now.shape[:2])
    first, second = (frame[::rows, ::columns].astype(np.int16) for frame in (before, now))
    return float(np.abs(first - second).mean()) / 255 >= threshold


def evidence(visible: float, settings: ReferralConfig) -> float:
    """What an answer adds to the log-odds. Raises ValueError where `visible` is no probability."""
    added = settings.trust * (_log_odds(visible) + settings.lean)
    return min(max(added, -MAX_EVIDENCE), MAX_EVIDENCE)


def updated(belief: float, visible: float, settings: ReferralConfig) -> float:
    """Log-odds that the target is there, after a further answer."""
    there = 1 / (1 + math.exp(-belief))
    there = there * settings.stay + (1 - there) * (1 - settings.stay)
    return _log_odds(there) + evidence(visible, settings)


def _log_odds(probability: float) -> float:
    if not 0 <= probability <= 1:  # NaN would pass through min and max, and never leave the belief again
        raise ValueError(f"{probability} is no probability")
    probability = min(max(probability, FLOOR), 1 - FLOOR)
    return math.log(probability / (1 - probability))
