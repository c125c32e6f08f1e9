"""Questions whose answer is a description of the target, and not a box: those of ReasoningTrack.

ReasoningTrack (https://github.com/Event-AHU/Open_VLTrack) asks Qwen2.5-VL-3B about two frames of a video how
the description of the target should change. The words that the weights have seen are those of its training
records, of which there are two versions. The answer is

    <think>…</think><d>yes|no</d><answer>…</answer>

A checkpoint of it is no grounder: `Grounder.locate` needs a contract that asks for boxes.
"""

import re
from dataclasses import dataclass
from typing import Any

from configs.errors import UserError

THINK, THOUGHT = "<think>", "</think>"
DECISION = re.compile(r"\s*<d>\s*(yes|no)\s*</d>\s*")
ANSWER, ANSWERED = "<answer>", "</answer>"


@dataclass(frozen=True)
class DescriptionWording:
    """The text of a question, with its two images behind the instruction and before the description."""

    instruction: str

    def messages(self, description: str) -> list[dict[str, Any]]:
        """The chat of one question: instruction, first and second frame, and the description so far."""
        # LLaMA-Factory joins the instruction and the input of a record by a line break.
        image = {"type": "image"}
        content = [_text(self.instruction + "\n"), image, image, _text(description)]
        return [{"role": "user", "content": content}]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


DESCRIPTION_WORDINGS: dict[str, DescriptionWording] = {
    # Of its records of GOT-10k, LaSOT, OTB99 and TNL2K.
    "reasoningtrack": DescriptionWording(
        "You are a visual tracking assistant. Strictly follow these rules:\n"
        "1. Focus ONLY on visual elements (objects, colors, spatial relationships) - COMPLETELY IGNORE any "
        "text in images\n"
        "2. Given an initial description and two consecutive frames:\n"
        "   - Analyze Frame 1 to verify the target object\n"
        "   - Determine if the text description needs to be updated\n"
        "   - Update the description for Frame 2 based on visual changes\n"
        "3. Reply in English and no more than 150 characters\n"
        "4. Response format: Consider the logic for updating the text and demonstrate the thought process "
        "within <think></think>. \n"
        '   Then, If you think need to update text description , put "yes" within <d></d> otherwhise put '
        '"no" within <d></d>, Finally provide the updated text within <answer></answer>.\n'
        "   "
    ),
    # Of its records of TNLLT, whose instruction does not mention <d>, although the answers have it.
    "reasoningtrack_tnllt": DescriptionWording(
        "You are a visual tracking assistant. Strictly follow these rules:"
        "1. Focus ONLY on visual elements (objects, colors, spatial relationships) - COMPLETELY IGNORE any "
        "text in images "
        "2. Given an initial description and two consecutive frames: "
        "- Analyze Frame 1 to verify the target object "
        "- Update the description for Frame 2 based on visual changes "
        "3. The updated text description should be concise and no more than 150 characters "
        "4. Response format:Consider the logic for updating the text and demonstrate the thought process "
        "within <think></think>. Then, provide the updated text within <answer></answer>."
    ),
}
"""Wordings of published checkpoints that refine descriptions, by name."""


def parts_of(output: str) -> tuple[str, bool, str]:
    """Thought, decision and answer of an output. Raises UserError where one of them, or its tag, is missing.

    A thought may mention the tags, so the decision is searched for only after the last end of a thought.
    """
    # 1. The thought: up to the last end tag, since thoughts quote tags.
    thought, end, rest = output.strip().rpartition(THOUGHT)
    if not end or not thought.startswith(THINK):
        raise UserError(f"does not begin with a thought between {THINK} and {THOUGHT}")
    # 2. The decision directly after it.
    decision = DECISION.match(rest)
    if decision is None:
        raise UserError(f"has no <d>yes</d> or <d>no</d> behind {THOUGHT}")
    # 3. The answer: exactly one, and nothing around it.
    said = rest[decision.end() :]
    for tag, count in ((ANSWER, said.count(ANSWER)), (ANSWERED, said.count(ANSWERED))):
        if count != 1:
            raise UserError(f"has {count} {tag} behind <d>, not one")
    if not said.startswith(ANSWER) or not said.endswith(ANSWERED):
        raise UserError(f"has text outside {ANSWER} and {ANSWERED}")
    answer = said[len(ANSWER) : -len(ANSWERED)].strip()
    if not answer:
        raise UserError("its answer is empty")
    return thought.removeprefix(THINK).strip(), decision[1] == "yes", answer
