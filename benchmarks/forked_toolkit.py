"""The VOT toolkit in forked processes, which take less time than new processes that import it."""

import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# What its commands import, some of it when they are called.
MODULES = ("vot.utilities.cli", "vot.analysis", "vot.experiment", "vot.report", "vot.workspace")

_OLD_STREAMS: list[object] = []


def import_toolkit() -> None:
    """Import the toolkit for all processes that are forked later."""
    for name in MODULES:
        import_module(name)


class ForkedToolkit:
    """Replaces `subprocess` where the VOT toolkit is started (`data_prep.votsr.toolkit`).

    `start_method` is one of `multiprocessing`: "fork" for a process of one thread, "forkserver" for others.
    """

    DEVNULL, PIPE, STDOUT = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT

    def __init__(self, start_method: str) -> None:
        self.context: Any = multiprocessing.get_context(start_method)
        if start_method == "fork":
            # Imported here and not in the child, so that all later children have them.
            import_toolkit()

    def run(self, command: Sequence[str], cwd: Path, env: dict[str, str], **more: object) -> object:  # noqa: ARG002
        """Do what `python -m vot` does, and return its output."""
        argv = list(command[command.index("vot") :])
        # A file and no pipe: a pipe that nobody reads fills up, and the child would wait for ever.
        with tempfile.NamedTemporaryFile() as said:
            sys.stdout.flush()
            sys.stderr.flush()
            child = self.context.Process(target=_as_toolkit, args=(argv, cwd, env, said.name))
            child.start()
            child.join()
            text = said.read().decode("utf-8", "replace")
        return SimpleNamespace(stdout=text, returncode=child.exitcode)


def _as_toolkit(argv: list[str], cwd: Path, env: dict[str, str], output: str) -> None:
    code = 1
    try:
        said = os.open(output, os.O_WRONLY | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        # A test may have replaced the streams, and the toolkit's logger has kept the one of its import.
        # The old streams are kept: one that is collected closes its file descriptor, which may be 1 or 2.
        _OLD_STREAMS.extend((sys.stdout, sys.stderr))
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        import_toolkit()
        for handler in logging.getLogger("vot").handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(sys.stderr)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = argv
        import_module("vot.utilities.cli").main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # whatever it is, the child must not return into the code of its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
