"""A check of a checkpoint's chat template, once when it is loaded: it is a program of somebody else.

transformers renders templates in a sandbox, which keeps them from everything but time.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from configs.errors import UserError
from data_prep.contract.chat import messages
from data_prep.contract.contract import Contract
from models.grounder.model import QwenVLProcessor

MOST_LINES = 200_000  # of Python that a template may run for one question; published ones run some hundred
EXPRESSION = "the target"


class _TooLongError(Exception):
    """A template that runs more lines than it may."""


def check_chat_template(key: str, checkpoint: str, processor: QwenVLProcessor, contract: Contract) -> None:
    """Render a question with a template and a search image.

    Raises UserError where the template is missing, cannot be rendered, does not end, or leaves out the
    expression or one of the two images.
    """
    named = f"{key}={checkpoint}: its chat template (chat_template.jinja)"
    if not processor.chat_template:
        raise UserError(f"{key}={checkpoint}: has no chat template; restore chat_template.jinja")
    chat = messages(contract, EXPRESSION, has_template=True, is_marked=True)
    try:
        with _at_most(MOST_LINES):
            text: Any = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    except _TooLongError:
        raise UserError(f"{named} does not come to an end; restore it") from None
    except Exception as fault:  # jinja2, its sandbox, and whatever an expression in it raises
        words = " ".join(str(fault).split())[:200]
        raise UserError(f"{named} cannot be rendered ({type(fault).__name__}: {words}); restore it") from None
    images = text.count(processor.image_token)
    if images != 2 or EXPRESSION not in text:
        raise UserError(
            f"{named} writes {images} of 2 images and "
            f"{'the' if EXPRESSION in text else 'no'} expression of a question; restore it"
        )


@contextmanager
def _at_most(lines: int) -> Iterator[None]:
    """Stop what runs in this thread after so many lines of Python, by raising _TooLongError."""
    left = lines

    def count(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        left -= event == "line"
        if left < 0:
            raise _TooLongError
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)
