"""The VOT toolkit in forks of this process, which take less time than new processes that import it."""

import logging
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

# What its commands import, some of it when they are called.
MODULES = ("vot.utilities.cli", "vot.analysis", "vot.experiment", "vot.report", "vot.workspace")

_OLD_STREAMS: list[object] = []


def import_toolkit() -> None:
    """Import the toolkit for all processes that are forked later."""
    for name in MODULES:
        import_module(name)


class ForkedToolkit(SimpleNamespace):
    """Replaces `subprocess` where the VOT toolkit is started (`data_prep.votsr.toolkit`)."""

    DEVNULL, PIPE, STDOUT = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT

    @staticmethod
    def run(command: Sequence[str], cwd: Path, env: dict[str, str], **more: object) -> object:  # noqa: ARG004
        """Do what `python -m vot` does, and return its output."""
        # Imported here and not in the child, so that all later children have them.
        import_toolkit()
        # A file and no pipe: a pipe that nobody reads fills up, and the child would wait for ever.
        with tempfile.TemporaryFile() as said:
            sys.stdout.flush()
            sys.stderr.flush()
            child = os.fork()
            if child == 0:
                _as_toolkit(list(command[command.index("vot") :]), cwd, env, said.fileno())
            _, status = os.waitpid(child, 0)
            said.seek(0)
            text = said.read().decode("utf-8", "replace")
        return SimpleNamespace(stdout=text, returncode=os.waitstatus_to_exitcode(status))


def _as_toolkit(argv: list[str], cwd: Path, env: dict[str, str], output: int) -> None:
    code = 1
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        # A test may have replaced the streams, and the toolkit's logger has kept the one of its import.
        # The old streams are kept: one that is collected closes its file descriptor, which may be 1 or 2.
        _OLD_STREAMS.extend((sys.stdout, sys.stderr))
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
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
