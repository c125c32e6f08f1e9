"""Background threads: frames are read ahead, and results are drawn and written behind.

Decoders, encoders and most of numpy release Python's global lock, so these threads use other cores while the
main thread computes. Both queues are bounded, so memory does not grow with the length of a video.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from infer.engine.timings import Timings

Item = TypeVar("Item")


def read_ahead(frames: Iterable[Item], depth: int, timings: Timings) -> Generator[Item, None, None]:
    """Yield frames, of which up to `depth` are decoded in advance, by one thread.

    With `depth` 0 they are decoded by the caller's thread. An exception of the decoder is raised where its
    frame would be yielded. When the generator is closed, the frame that is being decoded is waited for.
    """
    source = iter(frames)

    def read() -> Item | None:
        with timings.part("decode"):
            return next(source, None)

    if not depth:
        while (frame := read()) is not None:
            yield frame
        return
    with ThreadPoolExecutor(1, "reader") as reader:
        # One thread runs the calls in their order, so the frames stay in order too.
        ahead = deque(reader.submit(read) for _ in range(depth))
        try:
            while True:
                with timings.part("idle"):
                    frame = ahead.popleft().result()
                if frame is None:
                    return
                ahead.append(reader.submit(read))
                yield frame
        finally:
            reader.shutdown(cancel_futures=True)


class OrderedWorker:
    """Runs calls one after the other in a thread of its own.

    At most `depth` calls are open; `submit` waits while there are more. With `depth` 0 calls run at once, in
    the caller's thread. After a call that raised an exception the later ones are not run, and the exception
    is raised by the next `submit` or `wait`.
    """

    def __init__(self, depth: int, timings: Timings) -> None:
        self._depth, self._timings = depth, timings
        self._thread = ThreadPoolExecutor(1, "writer") if depth else None
        self._open: deque[Future[None]] = deque()
        self._has_failed = False

    @property
    def is_done(self) -> bool:
        """Whether no call is open."""
        return all(call.done() for call in self._open)

    def submit(self, call: Callable[[], None]) -> None:
        """Run a call after those that are open."""
        if self._thread is None:
            call()
            return
        while self._open and (self._open[0].done() or len(self._open) >= self._depth):
            self._wait_for_first()
        self._open.append(self._thread.submit(self._run, call))

    def wait(self) -> None:
        """Wait until no call is open."""
        while self._open:
            self._wait_for_first()

    def close(self) -> None:
        """End the thread. The call that is running is waited for; those after it are not run."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._open.clear()

    def _run(self, call: Callable[[], None]) -> None:
        # What a failed call has left is incomplete, so nothing may be built on it.
        if self._has_failed:
            return
        try:
            call()
        except BaseException:
            self._has_failed = True
            raise

    def _wait_for_first(self) -> None:
        with self._timings.part("idle"):
            self._open.popleft().result()
