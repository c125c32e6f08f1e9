"""What turns a command line into typed settings, for every command: `python -m <folder> key=value ...`.

A package declares its settings in its `config.py` (frozen dataclasses, see `configs.schema.key`) and
registers them; its `__main__.py` is then three lines:

    def main(settings: InferSettings) -> int:
        from infer.run import run  # heavy imports stand only here
        return run(settings)

    if __name__ == "__main__":
        sys.exit(run_command("infer", main, "Track what the words say."))

The YAML of the command, `configs/infer.yaml`, lists `base`, `infer_schema` and its groups.
"""

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

    `doc` is what `--help` says of the command. `arguments` are those of the process unless given;
    `folder` is where the YAML lies. `hold` gives a context in which the record is written and `main` runs: it
    may hold a lock on the `out` folder, and raises UserError where that folder must stay as it is, its record
    too. A user's mistake is one line on stderr and status 1. In a multirun
    (`-m`) every job runs, and the status is 0 only where every job's is.
    """
    prepare_terminal()
    try:
        check_one_checkout()
        line = read_command_line(sys.argv[1:] if arguments is None else arguments)
        load_plugins(line.overrides)
        with composer(command, folder) as composing:
            overrides, configs = composing.jobs(line)
            if line.wants_help:
                echo(help_text(command, doc, configs[0], composing, folder))
                return 0
            for config in configs:
                check(config)
                check_loaded(config.get(PLUGINS) or ())
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
    """Let Hydra make the results folders and run one job, or in a multirun every job."""
    statuses = []  # Hydra drops what a job returns

    def job(config: DictConfig) -> None:
        statuses.append(_run_job(main, hold, config))

    try:
        with known_to_hydra(command), _hydra_process(arguments):
            hydra.main(version_base="1.3", config_path=str(folder), config_name=command)(job)()
    except OSError as fault:  # of a job's own ones nothing comes here
        raise UserError(
            f"{fault.filename}: cannot be written ({fault.strerror}); choose another out="
        ) from None
    return max(statuses, default=0)


def _run_job(main: Callable[[Settings], int | None], hold: Hold[Settings], config: DictConfig) -> int:
    """One job: its record, then `main`. An unexpected exception is shown whole, and other jobs go on."""
    run = HydraConfig.get()
    try:
        if run.mode == RunMode.MULTIRUN:
            config.out = str(Path(run.sweep.dir) / run.sweep.subdir)
        settings = as_settings(config)
        with hold(settings):
            write_record(Path(config.out), config, list(run.overrides.task))
            return main(settings) or 0
    except UserError as fault:
        return _refuse(fault)
    except Exception:
        echo(traceback.format_exc().rstrip(), error=True)
        return 1


def _refuse(fault: Exception) -> int:
    said = str(fault) if isinstance(fault, UserError) else one_line(fault)
    echo(f"error: {printable(said)}", error=True)
    return 1


@contextmanager
def _hydra_process(arguments: list[str]) -> Iterator[None]:
    """While this holds, Hydra finds `arguments` on the command line and lets its exceptions through."""
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
