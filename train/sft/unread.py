"""Pairs that cannot be read: named, counted, and too many of them end a run."""

import logging
from collections.abc import Sequence

from configs.errors import UserError
from train.sft.batches import MicroBatch

log = logging.getLogger(__name__)


class UnreadCount:
    """How many pairs of a run were left out, on all processes together."""

    def __init__(self, bad_share: float, batch: int) -> None:
        self.bad_share, self.batch, self.count = bad_share, batch, 0

    def tell(self, batches: Sequence[MicroBatch], step: int, pairs: int, unread: int) -> None:
        """Name those of this process; `pairs` and `unread` are the step's, on all processes.

        Raises UserError where it is too much.
        """
        for batch in batches:
            for each in batch.unread:
                log.warning("pair %d left out: %s", each.number, each.reason)
        self.count += unread
        seen = step * self.batch + pairs + unread
        if unread and self.count > max(1.0, self.bad_share * max(seen, self.batch)):
            raise UserError(
                f"{self.count} of {seen} pairs cannot be read, more than recipe.bad_share={self.bad_share}; "
                "find the files with task=check, and leave them out"
            )
