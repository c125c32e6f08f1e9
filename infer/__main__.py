"""`python -m infer …`: track a described target in a workspace, a video, a data set or a rendered demo."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infer.config import InferSettings

# The exit statuses by which shells report these signals.
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


def main(settings: "InferSettings") -> int:
    """Track. The exit status is 0 only if every track was written and, if asked for, packed.

    After Ctrl-C, SIGTERM or a closed output nothing is left half-written, and one line says how to resume.
    """
    # 1. Check the settings, then import the rest. Until tracking starts a signal ends the process at once.
    with _on_signals(_end_at_once, signal.SIGINT, signal.SIGTERM):
        from infer.runs.checks import check_settings

        check_settings(settings)
        # Operations that torch does not support on an Apple GPU run on the CPU. Torch reads this variable
        # when it is imported.
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
        from infer.launch.run import run  # takes many seconds, so only after the settings have been checked
    # 2. Track. SIGTERM then unwinds the stack as Ctrl-C does, which removes half-written files.
    try:
        with _on_signals(_unwind, signal.SIGTERM):
            return run(settings)
    except KeyboardInterrupt:
        status, why = INTERRUPTED, "interrupted"
    except SystemExit as stop:
        if stop.code == TERMINATED:
            status, why = TERMINATED, "ended by SIGTERM"
        else:  # rich exits in this way when the output is closed
            status, why = 1, "the output was closed"
    from configs.terminal import echo
    from infer.runs.run import how_to_resume

    # 3. Say how to resume, and leave with the exit status that shells expect.
    with suppress(OSError):  # stderr may be what was closed
        echo(f"{why}; {how_to_resume(settings)}", error=True)
    raise SystemExit(status)  # not returned, which would let a sweep start its next job


def _end_at_once(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """End the process at once, while modules are imported; some of them suppress KeyboardInterrupt."""
    with suppress(OSError):
        os.write(2, b"interrupted before tracking started\n")
    os._exit(128 + number)


def _unwind(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """End the process as Ctrl-C does, so that half-written files are removed."""
    raise SystemExit(128 + number)


@contextmanager
def _on_signals(handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    """Handle these signals with `handler` during the block.

    A signal that the process was started to ignore stays ignored, such as SIGINT of what a script starts with
    `&`.
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
    """Raise UserError if `out=` belongs to a run over another source, before anything is written."""
    from infer.runs.checks import check_out_folder

    check_out_folder(settings)
    yield


if __name__ == "__main__":
    # Signals are handled before the first import that takes time.
    with _on_signals(_end_at_once, signal.SIGINT, signal.SIGTERM):
        from configs.app import run_command
        from infer import config  # noqa: F401  # registers the settings

    doc = "Track a target that is described in words; write its mask, or its absence, in every frame."
    sys.exit(run_command("infer", main, doc, hold=hold))
