"""Questions in batches that are halved where memory runs out."""

import warnings
from collections.abc import Callable, Sequence

from configs.errors import UserError
from models.devices import free_memory, is_out_of_memory
from models.interfaces import Answer, Question

AnswerBatch = Callable[[Sequence[Question]], list[Answer]]


def answer_in_batches(
    questions: Sequence[Question], size: int, answer: AnswerBatch, remedy: Callable[[], str]
) -> tuple[list[Answer], int]:
    """The answers to questions, in order, and the size of batches that fits into memory.

    `answer` is called with at most `size` questions. Where it runs out of memory, the size is halved, with a
    warning. Raises UserError, which ends with `remedy()`, where memory does not suffice for one question.
    """
    answers: list[Answer] = []
    too_large: int | None = None
    while len(answers) < len(questions):
        batch = questions[len(answers) : len(answers) + size]
        answered = _try_batch(batch, answer)
        if answered is None:
            free_memory()
            if len(batch) == 1:
                raise UserError(f"memory does not suffice for a single question; take {remedy()}")
            too_large, size = len(batch), len(batch) // 2
            continue
        answers += answered
        # Only now is it known that this size fits.
        if too_large is not None:
            warnings.warn(
                f"{too_large} questions at a time do not fit into memory: {size} are answered at a time from "
                f"now on; set model.batch={size}",
                stacklevel=3,
            )
            too_large = None
    return answers, size


def _try_batch(batch: Sequence[Question], answer: AnswerBatch) -> list[Answer] | None:
    """The answers to one batch; None where memory ran out.

    The exception ends in this function, because its traceback holds the tensors of the batch.
    """
    try:
        return answer(batch)
    except (MemoryError, RuntimeError) as fault:  # torch.OutOfMemoryError is a RuntimeError
        if not is_out_of_memory(fault):
            raise
    return None
