"""From a command line to typed settings, for every command: `python -m <folder> key=value ...`.

A package declares its settings in its `config.py` (frozen dataclasses, see `configs.schema.key`) and
registers them; its `__main__.py` is then three lines:

    def main(settings: InferSettings) -> int:
        from infer.runs.run import run  # heavy imports: only here, so that --help is fast
        return run(settings)

    if __name__ == "__main__":
        sys.exit(run_command("infer", main, "Track a target."))

The YAML of the command, `configs/infer.yaml`, lists `base`, `infer_schema` and its groups.

Hydra composes every configuration twice. First this module composes it, to find every mistake and to answer
`--help` before a results folder is made. Then Hydra composes it again, makes the folders, and runs the jobs.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from configs.command_line import read_command_line
from configs.compose import as_settings, check, composer, one_line
from configs.errors import UserError
from configs.help import help_text
from configs.import_path import check_one_checkout
from configs.plugins import KEY as PLUGINS
from configs.plugins import check_loaded, load_plugins
from configs.record import write_record
from configs.registry import known_to_hydra, register
from configs.terminal import echo, prepare_terminal, printable

__all__ = ["FOLDER", "register", "run_command"]

FOLDER = Path(__file__).resolve().parent
Settings = TypeVar("Settings")
Hold = Callable[[Settings], AbstractContextManager[object]]
# Errors of the system whose cause is a name, a permission or a resource, and no mistake of ours.
USERS_ERRORS = frozenset(
    {
        *(errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE),
    }
)
INTERRUPTED = 130  # the shell's status of a command that Ctrl-C ended


def run_command(
    command: str,
    main: Callable[[Settings], int | None],
    doc: str,
    arguments: Sequence[str] | None = None,
    folder: Path = FOLDER,
    hold: Hold[Settings] | None = None,
) -> int:
    """Run `main` with the settings that the command line describes; the process's exit status.

    `doc` describes the command in `--help`. `arguments` defaults to those of the process. `folder` holds the
    YAML files. `hold` returns a context manager, in which the record of the settings is written and `main`
    runs. It may lock the `out` folder, and it raises UserError where nothing may be written there.

    A user's mistake is printed as one line on stderr, and the status is 1. In a multirun (`-m`) all jobs run,
    and the status is 0 only if it is 0 for every job.
    """
    prepare_terminal()
    try:
        check_one_checkout()
        # 1. Split the command line, and import plugins: they may add options and keys.
        line = read_command_line(sys.argv[1:] if arguments is None else arguments)
        load_plugins(line.overrides)
        # 2. Compose the configuration of every job, and check all of them before the first job runs.
        with composer(command, folder) as composing:
            overrides, configs = composing.jobs(line)
            if line.wants_help:
                echo(help_text(command, doc, configs[0], composing, folder))
                return 0
            for config in configs:
                check(config)
                check_loaded(config.get(PLUGINS) or ())
        # 3. Run the jobs. `overrides` are quoted so that Hydra's grammar takes free text as it is.
        return _run_jobs(command, main, hold or nullcontext, [*overrides, *line.flags], folder)
    except (UserError, HydraException, OmegaConfBaseException) as fault:
        return _refuse(fault)
    except KeyboardInterrupt:
        echo("interrupted", error=True)
        return INTERRUPTED


def _run_jobs(
    command: str,
    main: Callable[[Settings], int | None],
    hold: Hold[Settings],
    arguments: list[str],
    folder: Path,
) -> int:
    """Let Hydra make the results folders and run the job, or all jobs of a multirun."""
    statuses = []  # collected here, since `hydra.main` discards what a job returns

    def job(config: DictConfig) -> None:
        statuses.append(_run_job(main, hold, config))

    try:
        with known_to_hydra(command), _hydra_process(arguments):
            hydra.main(version_base="1.3", config_path=str(folder), config_name=command)(job)()
    except OSError as fault:  # from Hydra itself: `_run_job` handles those of a job
        raise UserError(
            f"{fault.filename}: cannot be written ({fault.strerror}); choose another out="
        ) from None
    # With --cfg or --info Hydra prints something and runs no job, so there may be no status.
    return max(statuses, default=0)


def _run_job(main: Callable[[Settings], int | None], hold: Hold[Settings], config: DictConfig) -> int:
    """Run one job: write its record, then call `main`.

    An unexpected exception is printed with its traceback, and the other jobs of a multirun still run. An
    error of the system that users can correct (`USERS_ERRORS`) is one line.
    """
    run = HydraConfig.get()
    try:
        # In a multirun each job has a folder of its own in `out`, which Hydra numbers.
        if run.mode == RunMode.MULTIRUN:
            config.out = str(Path(run.sweep.dir) / run.sweep.subdir)
        settings = as_settings(config)
        with hold(settings):
            write_record(Path(config.out), config, list(run.overrides.task))
            return main(settings) or 0
    except Exception as fault:
        user_error = _as_user_error(fault)
        if user_error is not None:
            return _refuse(user_error)
        echo(traceback.format_exc().rstrip(), error=True)
        return 1


def _as_user_error(fault: Exception) -> UserError | None:
    """The error that a user can correct, as one; None where it is a fault of the code."""
    if isinstance(fault, UserError):
        return fault
    if isinstance(fault, OSError) and fault.errno in USERS_ERRORS and fault.filename is not None:
        return UserError(f"{fault.filename}: cannot be used ({fault.strerror}); correct that")
    return None


def _refuse(fault: Exception) -> int:
    said = str(fault) if isinstance(fault, UserError) else one_line(fault)
    echo(f"error: {printable(said)}", error=True)
    return 1


@contextmanager
def _hydra_process(arguments: list[str]) -> Iterator[None]:
    """A context in which Hydra reads `arguments` as its command line and does not catch exceptions.

    `hydra.main` takes no arguments: it reads `sys.argv`. Unless HYDRA_FULL_ERROR is set, it prints exceptions
    in its own format and exits.
    """
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        os.environ.pop("HYDRA_FULL_ERROR")
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error
