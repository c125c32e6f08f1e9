"""The formats of answers, which a contract names (`answer_format` in contract.json).

Most answers begin with the decision whether the target is visible. The tokens up to there (`start`) are
forced, and the next token is `visible` or `absent`: its probability is the visible probability. For a box the
text up to its numbers is forced as well, and only the numbers are decoded, up to `closing`. So a box can be
decoded even where the model would answer that the target is absent.

A new format is an entry of `ANSWER_FORMATS`, with a wording in `WORDINGS` that asks for it. Texts are split
where tokens of Qwen's tokenizers begin: forced texts then have the same tokens as in free generation.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.geometry import Box

# Digits inside a name do not count: a model that repeats `x1, y1, x2, y2` from the question gives no box.
NUMBER = re.compile(r"(?<!\w)-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class AnswerFormat:
    """The fixed texts of an answer. `visible` and `absent` must be one token each.

    `closing` is the character that ends a box; decoding stops at a token that contains it. Texts that other
    models write instead of `visible` and `absent` are in `also_visible` and `also_absent`; those that are one
    token of the vocabulary count towards the decision as well.

    A format with an empty `visible` has no decision: its answers are always a box.

    `list_end`, where it is not empty, is the character that ends a list of several boxes. Decoding then goes
    on over all boxes up to that character.

    A format of a thinking model has a `thought_end`: the model generates freely until it has written that
    text, and the answer follows. `thought_limit` is written for it where it does not come to an end.
    """

    start: str
    visible: str
    absent: str
    box_start: str
    box_end: str
    absent_end: str
    closing: str
    also_visible: tuple[str, ...] = ()
    also_absent: tuple[str, ...] = ()
    list_end: str = ""
    thought_end: str = ""
    thought_limit: str = ""

    @property
    def has_decision(self) -> bool:
        """Whether an answer says if the target is visible."""
        return bool(self.visible)

    @property
    def forced_prefix(self) -> str:
        """The text that is forced after `start`, so that the numbers of a box follow."""
        return self.visible + self.box_start

    def render(self, numbers: str | None) -> str:
        """An answer after `start`: with the numbers of a box as text, or None where the target is absent."""
        if numbers is None:
            return self.absent + self.absent_end
        return self.forced_prefix + numbers + self.box_end

    def render_placeholder(self, placeholder: str) -> str:
        """As `render`, with a placeholder instead of the box, for trainers that insert boxes themselves."""
        # The trainer writes the brackets of the box together with its numbers.
        return self.visible + self.box_start.removesuffix("[") + placeholder + self.box_end.removeprefix("]")

    def parse(self, text: str) -> Box | None:
        """The four numbers of a box in the text decoded after `forced_prefix`; None for any other text."""
        # Text after the closing character is not part of the box.
        found: Sequence[str] = NUMBER.findall(text.split(self.closing)[0])
        if len(found) != 4:
            return None
        left, top, right, bottom = (float(number) for number in found)
        return left, top, right, bottom


# Qwen's own answer to a grounding question: a fenced list of objects, or an empty list. The tokenizer has
# `[`, `[` with a line break, `[]` and `[]` with a line break as four different tokens.
QWEN_LIST = AnswerFormat(
    start="```json\n",
    visible="[\n",
    absent="[]\n",
    box_start='\t{"bbox_2d": [',
    box_end='], "label": "target"}\n]\n```',
    absent_end="```",
    closing="]",
    also_visible=("[", '[{"', "[{"),
    also_absent=("[]",),
    list_end="`",
)
# A bare list. R1-Track's training data have no blanks in it, and its models know no absent target.
R1_TRACK = AnswerFormat(
    start="", visible="", absent="", box_start="[", box_end="]", absent_end="", closing="]"
)

DEFAULT_FORMAT = "json"
ANSWER_FORMATS: dict[str, AnswerFormat] = {
    # One line: {"visible": true, "bbox_2d": [x1, y1, x2, y2]} or {"visible": false}
    DEFAULT_FORMAT: AnswerFormat(
        # A blank belongs to the word after it.
        start='{"visible":',
        visible=" true",
        absent=" false",
        box_start=', "bbox_2d": [',
        box_end="]}",
        absent_end="}",
        closing="]",
    ),
    # Fenced JSON with one blank before "bbox", as VPTracker's training data have it. Absent: a box of zeros.
    "vptracker": AnswerFormat(
        start='```json\n{\n  "visible": "',
        visible="yes",
        absent="no",
        box_start='",\n "bbox": [',
        box_end="]\n}\n```",
        absent_end='",\n "bbox": [0, 0, 0, 0]\n}\n```',
        closing="]",
    ),
    "r1_track": R1_TRACK,
    # <think>…</think> <answer>[x1,y1,x2,y2]</answer>
    "r1_track_think": dataclasses.replace(
        R1_TRACK, box_end="]</answer>", thought_end="<answer>", thought_limit="</think> <answer>"
    ),
    "qwen_list": QWEN_LIST,
    # Models whose chat template opens a thought: the answer follows behind an empty line.
    "qwen_list_think": dataclasses.replace(
        QWEN_LIST, start="\n\n```json\n", thought_end="</think>", thought_limit="\n</think>"
    ),
}
"""Answer formats by the name that a contract uses."""
