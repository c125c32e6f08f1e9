"""Running commands in a forked process, with limits on time, memory and file size.

Importing torch, transformers and the VOT toolkit takes longer than most of the commands. So this process
imports everything once, and forks a child for each seed.
"""

import faulthandler
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from io import FileIO, TextIOWrapper
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType, SimpleNamespace

from huggingface_hub import constants
from hydra.types import RunMode
from omegaconf import DictConfig, flag_override

from benchmarks.forked_toolkit import ForkedToolkit, import_toolkit
from configs import app
from configs.command_line import read_command_line
from configs.compose import check, composer
from data_prep.votsr import toolkit

MEMORY = 6 << 30  # bytes of address space, in addition to that of the parent process
FILE_SIZE = 256 << 20
KILLED = -9  # status of commands that ran out of time
COMMANDS = ("infer", "evaluation", "data_prep", "train")
PACKAGES = ("configs", "models", *COMMANDS)
# Libraries import these when they are used. Otherwise the first child of a target would import them, and then
# this process would do it once more.
LAZY = ("matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg", "pandas")
Command = tuple[str, tuple[str, ...]]  # name of the package and its arguments


@dataclass(frozen=True)
class CommandResult:
    """The exit statuses of the commands that ran, and their output."""

    statuses: tuple[int, ...]
    stdout: bytes
    stderr: bytes
    signal: int  # the signal that ended the process, or 0
    late: bool
    seconds: float

    @property
    def status(self) -> int:
        """The worst exit status."""
        return max(self.statuses, default=-1)


def import_all() -> None:
    """Import everything that the commands import, for all processes that are forked later."""
    found = [module for package in PACKAGES for module in _modules(import_module(package))]
    for name in (*found, *LAZY):
        import_module(name)
    import_toolkit()


def _modules(package: ModuleType) -> Iterator[str]:
    for module in walk_packages(package.__path__, f"{package.__name__}."):
        yield module.name


def run_commands(commands: Sequence[Command], cwd: Path, log: Path, limit: float) -> CommandResult:
    """Run commands one after the other in a forked process, for at most `limit` seconds.

    `log` is a folder for their output. The commands have no terminal and cannot reach the model hub. TMPDIR
    is the folder `tmp` beside `cwd`. They may map `MEMORY` bytes and write files of up to `FILE_SIZE` bytes.
    """
    log.mkdir(parents=True, exist_ok=True)
    for command in commands:
        composed(command)  # cached, so that the child need not compose
    started = time.monotonic()
    # Unflushed output would be written by the child as well.
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        # `_as_command` ends the child, so only the parent continues.
        _as_command(lambda: _in_turn(commands, log), cwd, log)
    ended, late = _wait(child, started + limit)
    message = log / "statuses"
    _import_also(log / "modules")
    return CommandResult(
        tuple(map(int, message.read_text().split())) if message.is_file() else (),
        (log / "stdout").read_bytes(),
        (log / "stderr").read_bytes(),
        os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else 0,
        late,
        time.monotonic() - started,
    )


def _wait(child: int, deadline: float) -> tuple[int, bool]:
    """Wait for a process and end its descendants. Returns its wait status, and whether it was too late."""
    # Polling with growing pauses: `waitpid` has no timeout.
    late, pause = False, 0.002
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if late := time.monotonic() > deadline:
            _end_group(child)
            _, status = os.waitpid(child, 0)
            break
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)
    # The processes that the child has started may still run.
    _end_group(child)
    return status, late


def _end_group(child: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


def _import_also(names: Path) -> None:
    """Import modules that a child imported, so that later children find them imported."""
    for name in names.read_text().split() if names.is_file() else ():
        with suppress(Exception):
            if not name.startswith("deepspeed"):  # it prints to the terminal at import
                import_module(name)
    names.unlink(missing_ok=True)


def _in_turn(commands: Sequence[Command], log: Path) -> None:
    known = set(sys.modules)
    with (log / "statuses").open("w") as statuses:
        for command in commands:
            # Flushed after each command, so that the statuses before a crash are known.
            print(_run(command), file=statuses, flush=True)
            sys.stdout.flush()
    (log / "modules").write_text("\n".join(sorted(sys.modules.keys() - known)))


@cache
def composed(command: Command) -> tuple[DictConfig, list[str]]:
    """The configuration of a command line, and its overrides."""
    package, arguments = command
    import_module(f"{package}.__main__")
    with composer(package, app.FOLDER) as composing:
        overrides, (config,) = composing.jobs(read_command_line(list(arguments)))
        check(config)
    with flag_override(config, ["struct", "readonly"], [False, False]):
        config.pop("hydra")
    return config, overrides


def _run(command: Command) -> int:
    """Run a command as `configs.app.run_command` does, without Hydra: it takes longer than most commands."""
    module = import_module(f"{command[0]}.__main__")
    config, overrides = composed(command)
    of_hydra = SimpleNamespace(mode=RunMode.RUN, overrides=SimpleNamespace(task=overrides))
    # `_run_job` asks Hydra for the overrides of the job.
    setattr(app, "HydraConfig", SimpleNamespace(get=lambda: of_hydra))  # noqa: B010
    app.prepare_terminal()
    return app._run_job(module.main, getattr(module, "hold", nullcontext), config)


def _as_command(work: Callable[[], None], cwd: Path, log: Path) -> None:
    """Make this process like one that a shell starts, do the work, and exit."""
    # EX_SOFTWARE of sysexits.h: an exception that no command should raise.
    code = 70
    try:
        os.setsid()  # a process group of its own, which can be killed as a whole
        faulthandler.disable()  # pytest enables it; a crash would print a traceback of C code
        _redirect(log)
        os.chdir(cwd)
        os.environ["TMPDIR"] = str(cwd.parent / "tmp")
        tempfile.tempdir = None  # the folder that the parent process has looked up
        _limit()
        # huggingface_hub read the environment variable when it was imported, which is too late to change.
        constants.HF_HUB_OFFLINE = True
        setattr(toolkit, "subprocess", ForkedToolkit("fork"))  # noqa: B010  # mypy takes modules for constants
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # whatever it is, the child must not return into the code of its parent
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _redirect(log: Path) -> None:
    """No input; output into files, by Python's streams as by those of libraries."""
    written = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY), (1, log / "stdout", written), (2, log / "stderr", written)
    ):  # fmt: skip
        handle = os.open(name, flags)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = open(0)  # noqa: SIM115
    sys.stdout = TextIOWrapper(FileIO(1, "w"), "utf-8", "strict", line_buffering=True)
    sys.stderr = TextIOWrapper(FileIO(2, "w"), "utf-8", "backslashreplace", line_buffering=True)


def _limit() -> None:
    # The first number of `statm` is the address space in pages. Linux does not enforce limits of resident
    # memory (RLIMIT_RSS), so the address space is limited.
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    # Python ignores SIGXFSZ, so a write beyond this size raises OSError.
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
