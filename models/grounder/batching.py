"""Questions in batches that are halved where memory runs out."""

import warnings
from collections.abc import Callable, Sequence

import torch

from configs.errors import UserError
from data_prep.contract.contract import Contract
from models.config_checks import INFERENCE_KEYS
from models.devices import free_memory, is_out_of_memory
from models.grounder.loading import quantization_of
from models.grounder.model import QwenVL
from models.interfaces import Answer, Question

AnswerBatch = Callable[[Sequence[Question]], list[Answer]]


def answer_in_batches(
    questions: Sequence[Question],
    size: int,
    answer: AnswerBatch,
    remedy: Callable[[], str],
    release: Callable[[], bool] = lambda: False,
) -> tuple[list[Answer], int]:
    """The answers to questions, in order, and the size of batches that fits into memory.

    `answer` is called with at most `size` questions. Where it runs out of memory, `release` drops what is
    kept but not needed, and returns whether there was anything; then the same questions are tried again.
    Otherwise the size is halved, with a warning. Raises UserError, which ends with `remedy()`, where memory
    does not suffice for one question.
    """
    answers: list[Answer] = []
    too_large: int | None = None
    while len(answers) < len(questions):
        batch = questions[len(answers) : len(answers) + size]
        answered = _try_batch(batch, answer)
        if answered is None:
            was_kept = release()
            free_memory()
            if was_kept:
                continue
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


def memory_remedy(model: QwenVL, contract: Contract, in_training: bool) -> str:
    """The keys that reduce the memory of a question, without those that are in use already.

    In training the keys of inference have other names.
    """
    remedies = []
    search, four_bit = "model.search_tokens", "model.quantization=4bit"
    if in_training:
        search, four_bit = INFERENCE_KEYS["search_tokens"], INFERENCE_KEYS["quantization"]
    if not all(contract.search_size):
        tokens = contract.max_pixels // contract.side_multiple**2
        remedies.append(f"{search}={max(1, tokens // 2)}")
    if model.dtype == torch.float32 and model.device.type == "cuda":
        remedies.append("model.dtype=bfloat16")
    if quantization_of(model) is None:
        remedies.append(four_bit)
    return ", ".join([*remedies, "or a smaller model=" + ("" if in_training else " or mask_head=")])
