"""The wordings of questions: the whole text of a question with its images, in the order of the training.

A checkpoint answers well only to the text that it was trained with, to the character. So the wordings of
published checkpoints are taken from the code that wrote their training data:

- `vptracker`: `dataset/sampling_dataset.py` of https://github.com/jcwang0602/VPTracker. Its inference script
  words the first paragraph differently; the weights have seen this text.
- `r1_track…`: `generation_data/gen_huggingface_data.py`, `README.md` and the launch scripts of EasyR1 in
  https://github.com/Wangbiao2/R1-Track.
- `qwen`: the grounding examples of https://github.com/QwenLM/Qwen2.5-VL and https://github.com/QwenLM/Qwen3-VL.

A contract names its wording. `instruct`, `tagged` and `short` are those of this project.
"""

from dataclasses import dataclass

TEMPLATE_IMAGE, SEARCH_IMAGE = "{template_image}", "{search_image}"
"""The placeholders of the two images in a wording."""


@dataclass(frozen=True)
class Wording:
    """The text of a question.

    `question` is the whole question. `{template}` in it is replaced by `template` where the question has a
    template image, else by `no_template`; `{visual_prompt}` by `visual_prompt` where the last known place of
    the target is shown, else by `no_visual_prompt`. After that the text contains these placeholders:

    - `{template_image}`, `{search_image}`: the images;
    - `{expression}`: the expression of the target, without the characters `stripped` at its ends, or
      `unnamed` where nothing is left of it;
    - `{numbers}`: the unit of coordinates in words, a value of `COORDINATES`;
    - `{template_box}`: the target's box in the template image, as `[x1,y1,x2,y2]` in whole pixels;
    - `{colour}`: the colour of the rectangle that marks the last known place.

    Other braces are doubled, as for `str.format`.
    """

    question: str
    template: str = ""
    no_template: str = ""
    visual_prompt: str = ""
    no_visual_prompt: str = ""
    stripped: str = ""
    unnamed: str = ""

    def text(self, has_template: bool, is_marked: bool) -> str:
        """The question with its optional parts, and with the placeholders of images and values."""
        template = self.template if has_template else self.no_template
        visual_prompt = self.visual_prompt if is_marked else self.no_visual_prompt
        return self.question.replace("{template}", template).replace("{visual_prompt}", visual_prompt)

    def named(self, expression: str) -> str:
        """An expression as this wording contains it."""
        return (expression.strip(self.stripped) if self.stripped else expression) or self.unnamed


COORDINATES: dict[str, str] = {
    "resized": "pixels of the search image",
    "frame": "pixels of the search frame before it was resized",
    "thousand": "thousandths of the search image's width and height",
}
"""The units of a box's numbers, and how a question names them."""

# ---- wordings of this project --------------------------------------------------------------------

_REQUEST = (
    'Answer in JSON: {{"visible": true, "bbox_2d": [x1, y1, x2, y2]}} with the corners of its box in '
    '{numbers}, or {{"visible": false}} if the target cannot be seen in it.\n'
)
_LAST_SEEN = "; the rectangle drawn in it marks where the target was last seen"

# ---- R1-Track ------------------------------------------------------------------------------------

# Both images come first, with a blank between them, which the data set writes between two <image>.
_R1_IMAGES = "{template_image} {search_image}"
_R1_QUESTION_5K = (
    "Please identify the target specified by the bounding box {template_box} in the first image and locate "
    "it in the second image. \n Return the coordinates in [x_min,y_min,x_max,y_max] format."
)
# EasyR1 puts its system prompt before the question, in the user's turn. The `\n` in it are a backslash and
# an n: the launch script gives the text in shell quotes, which do not make line breaks of them.
_R1_THINK = (
    "You FIRST think about the reasoning process as an internal monologue and then provide the final "
    r"answer. \n The reasoning process MUST BE enclosed within <think> </think> tags. The final answer MUST "
    "BE put in <answer> </answer> tags. "
)

WORDINGS: dict[str, Wording] = {
    # Parts that do not change during a track come first, and the tokens of the images can attend to the
    # expression.
    "instruct": Wording(
        question='Find the target in the search image. The target is: "{expression}".\n'
        + _REQUEST
        + "{template}The search image{visual_prompt}:\n{search_image}",
        template="The target as it looked before:\n{template_image}",
        visual_prompt=_LAST_SEEN,
    ),
    # With the special tokens of VPTracker (https://github.com/jcwang0602/VPTracker); a tokenizer needs them.
    "tagged": Wording(
        question="Find the target in the search image. The target is: <ref>{expression}</ref>.\n"
        + _REQUEST
        + "{template}The search image{visual_prompt}: <search>{search_image}</search>\n",
        template="The target as it looked before: <template>{template_image}</template>\n",
        visual_prompt=_LAST_SEEN,
    ),
    "short": Wording(
        question="find {expression}{template}{visual_prompt}{search_image}",
        template=" like{template_image}",
        visual_prompt=" near",
        no_visual_prompt=" in",
    ),
    "vptracker": Wording(
        question="You are a visual object tracker.\n"
        "Given {template}the language description of the target object <ref> {expression} </ref>.\n\n"
        "Then, detect the target object is in search image <search>{search_image}</search>.\n"
        "    1. determine whether the target is visible in the search image.\n"
        "    2. return the bounding box of its current position in the search image in the format "
        "[x_min, y_min, x_max, y_max]. \n\n"
        'Please return the answer in JSON format, for example: ```json\n{{\n  "visible": "yes/no", \n'
        '  "bbox":[x_min, y_min, x_max, y_max]\n}}\n```.\n{visual_prompt}',
        # The weights have seen no question without a template or without a rectangle.
        template="the visual information of the target object <template>{template_image}</template>, and ",
        visual_prompt="\nPlease note that you should first search for the target within the {colour} "
        "rectangular bounding box. If you cannot find it, then search for the target outside the rectangular "
        "bounding box.\n",
        stripped=" \t\r\n",
    ),
    "r1_track": Wording(
        question=_R1_IMAGES + "Given two images, you need to:\n"
        "1. Analyze and Identify the target object marked by bounding box {template_box} in <image_1>;\n"
        "2. Re-locate this target in <image_2>;\n"
        "3. Return [x_min, y_min, x_max, y_max] coordinates of the target in <image_2>."
    ),
    "r1_track_5k": Wording(question=_R1_IMAGES + _R1_QUESTION_5K),
    "r1_track_think": Wording(question=_R1_THINK + _R1_IMAGES + _R1_QUESTION_5K),
    # R1-Track on the first frame, where only words are known.
    "r1_track_words": Wording(
        question="{search_image}Please return the coordinates of {expression} in JSON format.",
        stripped=" \t\r\n",
        unnamed="the target",
    ),
    "qwen": Wording(
        question="{search_image}Locate {expression}. Report bbox coordinates in JSON format.",
        stripped=" \t\r\n.",
        unnamed="the target",
    ),
    # Detectors of text prompts, such as SAM 3's: the expression alone. The image goes another way.
    "phrase": Wording(question="{search_image}{expression}", stripped=" \t\r\n.", unnamed="the target"),
}
"""Wordings by the name that a contract uses."""

VPTRACKER_TOKENS = ("<ref>", "</ref>", "<template>", "</template>", "<search>", "</search>")
"""The special tokens in the wordings `tagged` and `vptracker`."""

TRAINED_WORDINGS = ("instruct", "tagged", "short")
"""The wordings of this project, which new fine-tunings may choose from."""
