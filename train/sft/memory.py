"""A batch that does not fit into a GPU, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from configs.errors import UserError
from train.sft.split import Split

GIB = 2**30


@contextmanager
def fitting(split: Split) -> Iterator[None]:
    """Turn a lack of GPU memory into a UserError that says what was used and which keys to change."""
    try:
        yield
    except torch.OutOfMemoryError:
        free, total = torch.cuda.mem_get_info()
        peak = torch.cuda.max_memory_allocated()
        told = f"recipe.micro_batch={split.micro_batch}"
        if split.micro_tokens is not None:
            told += f", recipe.micro_tokens={split.micro_tokens}"
        mend = "halve what is taken at once, or take" if split.micro_batch > 1 else "take"
        raise UserError(
            f"{told}: does not fit: {peak / GIB:.1f} GiB were in use, the GPU has "
            f"{total / GIB:.1f} and {free / GIB:.1f} are free; {mend} recipe.checkpointing=true, or fewer "
            "recipe.teach.search_tokens"
        ) from None
