"""`python -m infer …`: track what the words say, in a VOTSr workspace, a video, or a rendered demo."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infer.config import InferSettings

INTERRUPTED, TERMINATED = (
    128 + signal.SIGINT,
    128 + signal.SIGTERM,
)  # as shells call the ends by these signals


def main(settings: "InferSettings") -> int:
    """Track; the exit status is 0 only where every track was written and, if asked for, packed.

    Ctrl-C, SIGTERM and a closed output end the process with one line that says how to go on; nothing is left
    half-written.
    """
    with _on_signals(_end_at_once, signal.SIGINT, signal.SIGTERM):
        from infer.runs.checks import check_settings

        check_settings(settings)
        # Where torch has no kernel for an Apple GPU, the CPU computes; torch reads this as it is imported.
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
        from infer.runs.run import run  # takes many seconds: not before the settings are known to be right
    try:
        with _on_signals(_unwind, signal.SIGTERM):
            return run(settings)
    except KeyboardInterrupt:
        status, why = INTERRUPTED, "interrupted"
    except SystemExit as stop:
        if stop.code == TERMINATED:
            status, why = TERMINATED, "ended by SIGTERM"
        else:  # so rich ends a program
            status, why = 1, "the output was closed"
    from configs.terminal import echo

    with suppress(OSError):  # stderr may be what was closed
        echo(f"{why}; {_how_to_go_on(settings)}", error=True)
    raise SystemExit(status)  # not returned: the jobs of a sweep that have not begun shall not begin


def _how_to_go_on(settings: "InferSettings") -> str:
    if not (settings.workspace or settings.video or settings.data):
        return "the demo begins anew each time"
    without = " without overwrite=true" if settings.overwrite else ""
    return f"finished tracks are kept, and the same command{without} goes on with the rest"


def _end_at_once(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """End the process. While modules are imported nothing is at work; some of them hide KeyboardInterrupt."""
    with suppress(OSError):
        os.write(2, b"interrupted; nothing was begun\n")
    os._exit(128 + number)


def _unwind(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """End the process as Ctrl-C does: what is half-written is removed on the way."""
    raise SystemExit(128 + number)


@contextmanager
def _on_signals(handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    """While this holds, signals are answered by `handler`.

    A signal that the process was started to ignore stays ignored, as SIGINT of what a script starts with `&`.
    """
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


@contextmanager
def hold(settings: "InferSettings") -> Iterator[None]:
    """Raise UserError where `out=` holds the results of a run over something else: it stays as it is."""
    from infer.runs.checks import check_place

    check_place(settings)
    yield


if __name__ == "__main__":
    with _on_signals(_end_at_once, signal.SIGINT, signal.SIGTERM):
        from configs.app import run_command
        from infer import config  # noqa: F401  # registers the settings

    doc = "Track what the words say; get its mask in every frame."
    sys.exit(run_command("infer", main, doc, hold=hold))
