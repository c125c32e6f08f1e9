"""What is left of a run as tasks, and where the process that tracks gets them from."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SequenceTask:
    """The tracks of one sequence that are left. One process tracks them together.

    `number` is the position of the sequence in the plan of the run. The tracks of a sequence are one task,
    because they share the decoded frames and their features.
    """

    number: int
    sequence: str
    num_frames: int
    expressions: tuple[str, ...]

    @property
    def track_frames(self) -> int:
        """The amount of work: frames times tracks."""
        return self.num_frames * len(self.expressions)


@dataclass(frozen=True)
class Track:
    """Track what is left of a sequence.

    With `alone` nothing else is tracked meanwhile, and another run that tracks the sequence is waited for.
    """

    task: SequenceTask
    alone: bool = False


class TaskSource(Protocol):
    """Where `TrackRun.track` gets its tasks from: a queue, or the coordinator of several processes."""

    def take(self, is_idle: bool) -> Track | None:
        """The next task; None if there is none at the moment.

        `is_idle`: nothing is being tracked. This may then wait, and None means that nothing is left.
        """
        ...

    def put_back(self, task: SequenceTask) -> None:
        """Take back a task that cannot be tracked now: another run tracks it, or it did not fit into memory
        beside others.
        """
        ...

    def finish(self, task: SequenceTask) -> None:
        """Take note that a task has ended: its outcomes are known, and its results are on the disk."""
        ...


class TaskQueue:
    """The tasks of a run with a single process, in the given order. Implements `TaskSource`."""

    def __init__(self, tasks: Iterable[SequenceTask]) -> None:
        self._tasks, self._put_back = deque(tasks), deque[SequenceTask]()

    def take(self, is_idle: bool) -> Track | None:
        """See `TaskSource`. Tasks that were put back come last."""
        if self._tasks:
            return Track(self._tasks.popleft())
        # No claim is held meanwhile, because two runs could wait for each other.
        if is_idle and self._put_back:
            return Track(self._put_back.popleft(), alone=True)
        return None

    def put_back(self, task: SequenceTask) -> None:
        """See `TaskSource`."""
        self._put_back.append(task)

    def finish(self, task: SequenceTask) -> None:
        """See `TaskSource`: nothing to do, as a task that was taken is gone."""
