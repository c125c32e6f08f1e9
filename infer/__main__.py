"""`python -m infer …`: track what the words say, in a VOTSr workspace, a video, or a rendered demo."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from configs.app import INTERRUPTED, run_command
from configs.terminal import echo
from infer.config import InferSettings

TERMINATED = 128 + signal.SIGTERM  # the shell's status of a command that SIGTERM ended


def main(settings: InferSettings) -> int:
    """Track; the exit status is 0 only where every track was written and, if asked for, packed.

    Ctrl-C, SIGTERM and a closed output end the run with one line that says how to go on; nothing is left
    half-written.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        from infer.checks import check_settings

        check_settings(settings)
        # Where torch has no kernel for an Apple GPU, the CPU computes; torch reads this as it is imported.
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
        from infer.run import run  # takes many seconds: not before the settings are known to be right

        return run(settings)
    except KeyboardInterrupt:
        return _stopped("interrupted", settings, INTERRUPTED)
    except SystemExit as stop:
        if stop.code == TERMINATED:
            return _stopped("ended by SIGTERM", settings, TERMINATED)
        return _stopped("the output was closed", settings, 1)  # rich ends a program so
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise SystemExit(TERMINATED)


def _stopped(why: str, settings: InferSettings, status: int) -> int:
    """Say how to go on."""
    if not (settings.workspace or settings.video or settings.data):
        told = "the demo begins anew each time"
    else:
        without = " without overwrite=true" if settings.overwrite else ""
        told = f"finished tracks are kept, and the same command{without} goes on with the rest"
    with suppress(OSError):  # stderr may be the output that was closed
        echo(f"{why}; {told}", error=True)
    return status


@contextmanager
def hold(settings: InferSettings) -> Iterator[None]:
    """Raise UserError where `out=` holds the results of a run over something else: it stays as it is."""
    from infer.checks import check_place

    check_place(settings)
    yield


if __name__ == "__main__":
    doc = "Track what the words say; get its mask in every frame."
    sys.exit(run_command("infer", main, doc, hold=hold))
