"""What a checkpoint's chat template writes: a check when it is loaded, and the end of an answer.

The template is a program by somebody else. transformers renders templates in a sandbox, which prevents
everything but loops that do not end.
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

# Lines of Python that a template may execute for one question; published ones need some hundred.
MAX_LINES = 200_000
EXPRESSION = "the target"
ANSWER = "the answer"


class _TooLongError(Exception):
    """A template executed more lines of Python than allowed."""


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
        with _limited_to(MAX_LINES):
            text: Any = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    except _TooLongError:
        raise UserError(f"{named} does not come to an end; restore it") from None
    except Exception as fault:  # of jinja2, its sandbox, or an expression in the template
        reason = " ".join(str(fault).split())[:200]
        raise UserError(
            f"{named} cannot be rendered ({type(fault).__name__}: {reason}); restore it"
        ) from None
    # A template that drops an image would shift the images of all later questions in a batch.
    images = text.count(processor.image_token)
    if images != 2 or EXPRESSION not in text:
        raise UserError(
            f"{named} writes {images} of 2 images and "
            f"{'the' if EXPRESSION in text else 'no'} expression of a question; restore it"
        )


def end_of_turn(processor: QwenVLProcessor) -> str:
    """The text that ends an answer: what the chat template writes after it, through the first special token.

    For Qwen's templates it is `<|im_end|>`. The newline that they write after it is not included, because a
    model stops at the token. If the template writes no special token there, it is the tokenizer's
    end-of-sequence token. Raises UserError if the template cannot write an answer, or nothing ends it.
    """
    tokenizer: Any = processor.tokenizer
    chat: list[dict[str, Any]] = [
        {"role": role, "content": [{"type": "text", "text": text}]}
        for role, text in (("user", EXPRESSION), ("assistant", ANSWER))
    ]
    try:
        text: Any = processor.apply_chat_template(chat, tokenize=False)
    except Exception as fault:  # of jinja2, its sandbox, or an expression in the template
        raise UserError(
            f"{processor.tokenizer.name_or_path}: its chat template cannot write an answer "
            f"({type(fault).__name__}); restore chat_template.jinja"
        ) from None
    after = text.rpartition(ANSWER)[2]
    ends = [after.index(token) + len(token) for token in tokenizer.get_added_vocab() if token in after]
    end: str = after[: min(ends)] if ends else tokenizer.eos_token or ""
    if not end:
        raise UserError(
            f"{tokenizer.name_or_path}: neither its chat template nor its tokenizer ends an answer; "
            "name an eos_token in tokenizer_config.json"
        )
    return end


@contextmanager
def _limited_to(lines: int) -> Iterator[None]:
    """A context that raises _TooLongError when this thread has executed so many lines of Python."""
    left = lines

    def count(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        left -= event == "line"
        if left < 0:
            raise _TooLongError
        # What a trace function returns traces the lines of the frame that was entered; None would not count
        # them.
        return count

    # A debugger or a coverage tool may have set a trace function; it is restored.
    before = sys.gettrace()
    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)
