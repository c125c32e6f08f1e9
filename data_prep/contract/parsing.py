"""Boxes in the free text of a model: answers of servers, of thinking models, and of other prompts.

`parse_free` has one documented outcome for each form (the table in docs/inference.md). It never guesses: a
form that may mean several things is `UNREADABLE`, with the reason.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from data_prep.contract.chat import to_frame
from data_prep.contract.contract import Contract
from data_prep.geometry import Box, Size


class Outcome(StrEnum):
    """What a text says about the target."""

    BOX = "box"
    ABSENT = "absent"  # it says that there is no target
    POINT = "point"  # two numbers: a place without an extent
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class FreeAnswer:
    """The outcome of a text. `boxes` has at least one box if the outcome is `BOX`, in the order of the text
    and in the unit of its numbers; `reason` says why a text is unreadable.
    """

    outcome: Outcome
    boxes: tuple[Box, ...] = ()
    reason: str = ""

    @property
    def box(self) -> Box | None:
        """The only box of the text; None where there is none, or several."""
        return self.boxes[0] if len(self.boxes) == 1 else None


_N = r"[-+]?\d+(?:\.\d+)?"
_SEPARATOR = r"\s*[,;]\s*|\s+"
# Two points between the tokens of Qwen2-VL and Qwen-VL: (x1,y1),(x2,y2).
_TAGGED = re.compile(
    rf"<\|?box(?:_start)?\|?>\s*\(({_N})\s*,\s*({_N})\)\s*,\s*\(({_N})\s*,\s*({_N})\)\s*<\|?/?box(?:_end)?\|?>"
)
_LIST = re.compile(r"\[([^\[\]{}\"]*)\]")  # an innermost list
_PAIR = re.compile(rf"\(\s*{_N}\s*,\s*{_N}\s*\)")
_BARE = re.compile(rf"(?<![\w.])({_N}(?:\s*,\s*{_N})+)(?!\w|\.\d)")  # numbers with commas, without brackets
_VISIBLE = re.compile(r"[\"']?visible[\"']?\s*[:=]\s*[\"']?(true|false|yes|no)\b", re.IGNORECASE)
# What models write instead of an empty list. A target is often "not visible", "no longer in the image" and so
# on; that a model cannot help says nothing about the target.
_DENIALS = re.compile(
    r"\b(?:not (?:visible|present|in (?:the|this) (?:image|frame|picture)|found|shown)|no longer|absent"
    r"|(?:there (?:is|are)|i see) no(?:ne|t)?\b|there isn't|there aren't|does(?:n't| not) (?:appear|contain)"
    r"|(?:can ?not|can't|could not|couldn't|unable to) (?:see|find|locate|detect|identify))"
    r"|^\W*(?:none|no|false|null)\W*$",
    re.IGNORECASE,
)


def parse_free(text: str) -> FreeAnswer:
    """The boxes in a text, or that there is none. The forms and their outcomes are in docs/inference.md."""
    # 1. Full-width digits, commas and brackets become ordinary ones, and the thought before an answer is cut.
    text = unicodedata.normalize("NFKC", text)
    text, reason = _answer_part(text)
    if reason:
        return FreeAnswer(Outcome.UNREADABLE, reason=reason)
    # 2. Said to be absent: then the box, often one of zeros, means nothing.
    said = _VISIBLE.search(text)
    if said and said[1].lower() in ("false", "no"):
        return FreeAnswer(Outcome.ABSENT)
    # 3. Boxes by their brackets: the tagged form, then innermost lists of numbers.
    groups: list[list[float]] = [[float(value) for value in found] for found in _TAGGED.findall(text)]
    rest = _TAGGED.sub(" ", text)
    lists = [numbers for found in _LIST.findall(rest) if (numbers := _numbers(found)) is not None]
    groups += [numbers for numbers in lists if numbers]
    if groups:
        return _of_groups(groups)
    # 4. An empty list, points, and numbers without brackets.
    if lists or re.search(r"\[\s*\]", rest):
        return FreeAnswer(Outcome.ABSENT)
    if _PAIR.search(rest):
        return FreeAnswer(Outcome.POINT)
    outside = _LIST.sub(" ", rest)
    bare = [[float(value) for value in re.findall(_N, found)] for found in _BARE.findall(outside)]
    if bare:
        return _of_groups(bare)
    # 5. Words alone.
    if _DENIALS.search(rest.strip()):
        return FreeAnswer(Outcome.ABSENT)
    return FreeAnswer(Outcome.UNREADABLE, reason="no box, no list and no denial")


def _answer_part(text: str) -> tuple[str, str]:
    """A text without its thought and outside of `<answer>` tags, and why that is not possible."""
    _, thought_end, after = text.rpartition("</think>")
    if thought_end:
        text = after
    elif "<think>" in text:
        return "", "its thought does not end"
    if "<answer>" in text:
        text = text.rpartition("<answer>")[2].partition("</answer>")[0]
    return text, ""


def _numbers(inner: str) -> list[float] | None:
    """The numbers of an innermost list; None where it holds anything else."""
    parts = [part for part in re.split(_SEPARATOR, inner.strip()) if part]
    if not all(re.fullmatch(_N, part) for part in parts):
        return None
    return [float(part) for part in parts]


def _of_groups(groups: list[list[float]]) -> FreeAnswer:
    """The outcome of groups of numbers: all of them must be boxes."""
    boxes: list[Box] = []
    for numbers in groups:
        if len(numbers) != 4:
            is_point = len(numbers) == 2 and len(groups) == 1
            reason = "" if is_point else f"{len(numbers)} numbers instead of four"
            return FreeAnswer(Outcome.POINT if is_point else Outcome.UNREADABLE, reason=reason)
        left, top, right, bottom = numbers
        if right < left or bottom < top:
            # Either the corners are reversed, or the numbers mean x, y, width and height.
            return FreeAnswer(Outcome.UNREADABLE, reason="the second corner is left of or above the first")
        boxes.append((left, top, right, bottom))
    return FreeAnswer(Outcome.BOX, tuple(boxes))


def box_of_text(contract: Contract, text: str, resized: Size, frame: Size) -> tuple[bool, Box | None]:
    """Whether a complete answer says that the target is visible, and its box in pixels of the frame.

    The numbers count what the contract says, of a search image of size `resized` that was made from a whole
    frame of size `frame`. Fractions of 0 to 1 are shares of its sides. Of several boxes there is no best one
    without their probabilities, so the box is None then. A box outside the frame is None too (`to_frame`).
    """
    found = parse_free(text)
    if found.outcome is not Outcome.BOX:
        return False, None
    box = found.box
    return True, None if box is None else to_frame(contract, box, resized, frame)
