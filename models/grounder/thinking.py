"""The thought of a thinking model, which it writes before its answer."""

import re
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from data_prep.contract.formats import AnswerFormat
from models.grounder.model import QwenVL
from models.grounder.questions import Encoded

# Tokens of each row that are searched for the end of the thought: it has at most about ten.
TAIL = 16


class ThoughtEnds(StoppingCriteria):
    """Stops a row of `generate` where its last tokens contain the end of the thought.

    `length` is the number of tokens of the question, which are not searched. Tokens are compared as text,
    because a tokenizer may write the end in several ways, and join its last character with what follows.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, end: str, length: int) -> None:
        self.tokenizer, self.end, self.length = tokenizer, end, length

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any) -> Any:  # noqa: ARG002
        """Which rows stop: (batch, length) token ids -> bool (batch,)."""
        tails = self.tokenizer.batch_decode(input_ids[:, self.length :][:, -TAIL:])
        return torch.tensor([self.end in tail for tail in tails], device=input_ids.device)


def think(
    model: QwenVL,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Encoded,
    answer_format: AnswerFormat,
    limit: int,
) -> list[str]:
    """The thoughts about a left-padded batch of questions, each up to and with the format's `thought_end`.

    The model generates greedily, at most `limit` tokens. A thought that does not come to an end within them
    is ended by `thought_limit`.
    """
    # 1. `generate` calls the model's own forward pass, which expects each image once for each placeholder.
    inputs, rows = encoded.inputs, [index for row in encoded.image_indices for index in row]
    grids = inputs["image_grid_thw"]
    patches = inputs["pixel_values"].split(grids.prod(-1).tolist())
    length = inputs["input_ids"].shape[1]
    generating: Any = model  # its mixin's `generate` is annotated for another class
    output = generating.generate(
        **{name: inputs[name] for name in ("input_ids", "attention_mask", "mm_token_type_ids")},
        pixel_values=torch.cat([patches[index] for index in rows]),
        image_grid_thw=grids[rows],
        # Greedy, whatever the generation_config.json of a checkpoint says.
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        max_new_tokens=limit,
        stopping_criteria=StoppingCriteriaList([ThoughtEnds(tokenizer, answer_format.thought_end, length)]),
    )
    # 2. The texts without control tokens: the end of the turn, padding, and placeholders of images, which
    #    would be taken for further images of the question.
    texts = tokenizer.batch_decode(output[:, length:], skip_special_tokens=True)
    return [_ended(text, answer_format) for text in texts]


def _ended(text: str, answer_format: AnswerFormat) -> str:
    """A generated text up to the end of its thought, which is added where it is missing."""
    thought, end, _ = text.partition(answer_format.thought_end)
    if end:
        return thought + end
    # The beginning of an end that was cut off at the limit would be written twice.
    return re.sub(r"</?\w*$", "", text) + answer_format.thought_limit
