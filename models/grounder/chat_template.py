"""What a checkpoint's chat template writes: questions, checks when it is loaded, and the end of an answer.

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


def render_chat(processor: QwenVLProcessor, chat: list[dict[str, Any]], thinking: bool = False) -> str:
    """The text of a chat up to where the answer begins, with one placeholder for each image.

    `thinking` asks models that can answer with and without a thought before the answer, such as Qwen3.5, for
    one.
    """
    # transformers warns of a setting that the template does not read.
    is_read = "enable_thinking" in str(processor.chat_template)
    settings: dict[str, Any] = {"enable_thinking": thinking} if is_read else {}
    text: Any = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, **settings)
    return str(text)


def opens_thought(processor: QwenVLProcessor) -> bool:
    """Whether the chat template opens a thought before the answer, though none is asked for.

    This is so for checkpoints that always think, such as Qwen3-VL-4B-Thinking. Their templates end in
    `<think>`; those of models that can answer at once end without it, or with a thought that is closed again.
    A template that cannot be rendered is reported by `check_chat_template`.
    """
    chat = [{"role": "user", "content": [{"type": "text", "text": EXPRESSION}]}]
    try:
        with _limited_to(MAX_LINES):
            text = render_chat(processor, chat)
    except Exception:  # of jinja2, its sandbox, or an expression in the template
        return False
    # The question stands before the end, and may name the tags too, so only what follows it counts.
    opening = text.rpartition(EXPRESSION)[2]
    return opening.rfind("<think>") > opening.rfind("</think>")


class _TooLongError(Exception):
    """A template executed more lines of Python than allowed."""


def check_chat_template(key: str, checkpoint: str, processor: QwenVLProcessor, contract: Contract) -> None:
    """Render a question with a template and a search image.

    Raises UserError where the template is missing, cannot be rendered, does not end, leaves out the
    expression or one of the two images, or opens a thought that the contract does not expect.
    """
    named = f"{key}={checkpoint}: its chat template (chat_template.jinja)"
    if not processor.chat_template:
        raise UserError(f"{key}={checkpoint}: has no chat template; restore chat_template.jinja")
    chat = messages(contract, EXPRESSION, has_template=True, is_marked=True)
    content = chat[0]["content"]
    try:
        with _limited_to(MAX_LINES):
            text = render_chat(processor, chat, is_thinking(contract))
    except _TooLongError:
        raise UserError(f"{named} does not come to an end; restore it") from None
    except Exception as fault:  # of jinja2, its sandbox, or an expression in the template
        reason = " ".join(str(fault).split())[:200]
        raise UserError(
            f"{named} cannot be rendered ({type(fault).__name__}: {reason}); restore it"
        ) from None
    # A template that drops an image would shift the images of all later questions in a batch.
    images, wanted = text.count(processor.image_token), sum(part["type"] == "image" for part in content)
    written = "".join(part.get("text", "") for part in content)
    if images != wanted or text.count(EXPRESSION) < written.count(EXPRESSION):
        raise UserError(
            f"{named} writes {images} of {wanted} images and "
            f"{'the' if EXPRESSION in text else 'no'} expression of a question; restore it"
        )
    if opens_thought(processor) and not is_thinking(contract):
        raise UserError(
            f"{named} opens a thought (<think>) before the answer, and its contract has none; take a "
            "checkpoint that answers at once (-Instruct), or model.contract= of one that thinks"
        )


def is_thinking(contract: Contract) -> bool:
    """Whether answers of a contract begin with a thought."""
    return contract.thinking > 0


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
        with _limited_to(MAX_LINES):
            text: Any = processor.apply_chat_template(chat, tokenize=False)
    except Exception as fault:  # of jinja2, its sandbox, or an expression in the template
        reason = "it does not come to an end" if isinstance(fault, _TooLongError) else type(fault).__name__
        raise UserError(
            f"{processor.tokenizer.name_or_path}: its chat template cannot write an answer "
            f"({reason}); restore chat_template.jinja"
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
