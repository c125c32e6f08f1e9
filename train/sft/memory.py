"""A batch that does not fit into a GPU, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from configs.errors import UserError

GIB = 2**30


@contextmanager
def fitting(micro_batch: int) -> Iterator[None]:
    """Turn a lack of GPU memory into a UserError that says what was used and which keys to change."""
    try:
        yield
    except torch.OutOfMemoryError:
        free, total = torch.cuda.mem_get_info()
        peak = torch.cuda.max_memory_allocated()
        mend = f"lower it to {micro_batch // 2}, or take" if micro_batch > 1 else "take"
        raise UserError(
            f"recipe.micro_batch={micro_batch}: does not fit: {peak / GIB:.1f} GiB were in use, the GPU has "
            f"{total / GIB:.1f} and {free / GIB:.1f} are free; {mend} recipe.checkpointing=true, or fewer "
            "recipe.teach.search_tokens"
        ) from None
