"""The texts that a contract names: the wording of questions, and the format of answers.

An answer begins with the decision whether the target is visible. The tokens up to there (`start`) are forced,
and the next token is `visible` or `absent`: its probability is the visible probability. For a box the text up
to its numbers is forced as well, and only the numbers are decoded, up to `box_end`. So a box can be decoded
even where the model would answer that the target is absent.

A contract names its format (`answer_format` in contract.json) and its wording. A new format is an entry of
`ANSWER_FORMATS`, with a wording in `WORDINGS` that asks for it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.geometry import Box

# Digits inside a name do not count: a model that repeats `x1, y1, x2, y2` from the question gives no box.
NUMBER = re.compile(r"(?<!\w)-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class AnswerFormat:
    """The fixed texts of an answer. `visible` and `absent` must be one token each.

    `closing` is the character that ends a box; decoding stops at a token that contains it.
    """

    start: str
    visible: str
    absent: str
    box_start: str
    box_end: str
    absent_end: str
    closing: str

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


DEFAULT_FORMAT = "json"
ANSWER_FORMATS: dict[str, AnswerFormat] = {
    # One line: {"visible": true, "bbox_2d": [x1, y1, x2, y2]} or {"visible": false}
    DEFAULT_FORMAT: AnswerFormat(
        # The text is split where tokens of Qwen's tokenizers begin: a blank belongs to the word after it.
        start='{"visible":',
        visible=" true",
        absent=" false",
        box_start=', "bbox_2d": [',
        box_end="]}",
        absent_end="}",
        closing="]",
    ),
}
"""Answer formats by the name that a contract uses."""


@dataclass(frozen=True)
class Wording:
    """The texts between the images of a question.

    In `expression`, `{expression}` stands for the expression of the target, and `{numbers}` for the unit of
    coordinates, a value of `COORDINATES`. `marked` and `search` introduce the search image with and without a
    visual prompt.
    """

    expression: str
    template: str
    marked: str
    search: str
    after_template: str = ""
    after_search: str = ""


COORDINATES: dict[str, str] = {
    "resized": "pixels of the search image",
    "frame": "pixels of the search frame before it was resized",  # only in records for other trainers
    "thousand": "thousandths of the search image's width and height",
}
"""The units of a box's numbers, and how a question names them."""


WORDINGS: dict[str, Wording] = {
    "instruct": Wording(
        expression='Find the target in the search image. The target is: "{expression}".\n'
        'Answer in JSON: {{"visible": true, "bbox_2d": [x1, y1, x2, y2]}} with the corners of its box in '
        '{numbers}, or {{"visible": false}} if the target cannot be seen in it.\n',
        template="The target as it looked before:\n",
        marked="The search image; the rectangle drawn in it marks where the target was last seen:\n",
        search="The search image:\n",
    ),
    # With the special tokens of VPTracker (https://github.com/jcwang0602/VPTracker); a tokenizer needs them.
    "tagged": Wording(
        expression="Find the target in the search image. The target is: <ref>{expression}</ref>.\n"
        'Answer in JSON: {{"visible": true, "bbox_2d": [x1, y1, x2, y2]}} with the corners of its box in '
        '{numbers}, or {{"visible": false}} if the target cannot be seen in it.\n',
        template="The target as it looked before: <template>",
        marked="The search image; the rectangle drawn in it marks where the target was last seen: <search>",
        search="The search image: <search>",
        after_template="</template>\n",
        after_search="</search>\n",
    ),
    "short": Wording(expression="find {expression}", template=" like", marked=" near", search=" in"),
}
