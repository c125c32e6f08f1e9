"""Python files of the user that add a tracker, a data set, a protocol, ...: `plugins=[my_tracker.py]`.

A plugin is imported before the settings are composed, so what it registers is an option of the command line
like those of this project. `docs/extending.md` shows one file for each kind of extension.

A plugin becomes the module `refertrack_plugins.<name of the file>`. Processes that a command starts afresh
(workers of a pool, which unpickle objects of a plugin's classes) find the same modules: the paths are passed
on in the environment variable `REFERTRACK_PLUGINS`, and `configs/__init__.py` installs the finder. The folder
of a plugin is not put on Python's path: nothing but the named file is imported from there.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from configs.errors import UserError

PACKAGE = "refertrack_plugins"
VARIABLE = "REFERTRACK_PLUGINS"  # absolute paths of the loaded files, separated by os.pathsep
KEY = "plugins"
DOC = (
    "Python files that add trackers, data sets, protocols and the like (docs/extending.md); they are "
    "imported before the other keys are read"
)


def load_plugins(overrides: Sequence[str]) -> None:
    """Import the files that the override `plugins=[a.py,b.py]` of a command line names, if there is one.

    Raises UserError for a file that does not exist, is no Python file, cannot be imported, or has the name of
    another plugin.
    """
    os.environ.pop(VARIABLE, None)  # of a command that started this one
    for override in overrides:
        name, _, value = override.lstrip("+").partition("=")
        if name == KEY:
            for path in _paths(override, value):
                _load(path)


def import_inherited_plugins() -> None:
    """Import the plugins of the process that started this one, which registers what they add here too."""
    for path in loaded_plugins():
        importlib.import_module(f"{PACKAGE}.{path.stem}")


def loaded_plugins() -> tuple[Path, ...]:
    """The files that were loaded in this process or in the one that started it, in order."""
    return tuple(Path(entry) for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry)


def check_loaded(paths: Iterable[str]) -> None:
    """Raise UserError where a composed configuration names plugins that the command line does not.

    They would be loaded too late: what they add must be known when the configuration is composed.
    """
    loaded = loaded_plugins()
    for path in paths:
        if Path(path).resolve() not in loaded:
            raise UserError(f"{KEY}: {path}: is named in a YAML file; name it on the command line")


def install_finder() -> None:
    """Let `import refertrack_plugins.<name>` find the files that `REFERTRACK_PLUGINS` names."""
    if not any(isinstance(finder, _PluginFinder) for finder in sys.meta_path):
        sys.meta_path.append(_PluginFinder())


class _PluginFinder(importlib.abc.MetaPathFinder):
    """Finds the package of all plugins, which has no file, and the file of each."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if fullname == PACKAGE:
            # A namespace package: it has no file, and only its name is needed.
            return importlib.machinery.ModuleSpec(PACKAGE, None, is_package=True)
        package, _, name = fullname.rpartition(".")
        file = _by_name().get(name) if package == PACKAGE else None
        return None if file is None else importlib.util.spec_from_file_location(fullname, file)


def _by_name() -> dict[str, Path]:
    return {path.stem: path for path in loaded_plugins()}


def _paths(override: str, value: str) -> list[Path]:
    """The absolute paths of an override's list."""
    try:
        parsed = OverridesParser.create().parse_override(f"{KEY}={value}").value()
    except HydraException:
        parsed = None
    if not isinstance(parsed, list):
        raise UserError(f"{override}: is a list; write '{KEY}=[my_tracker.py]'")
    return [Path(str(each)).resolve() for each in parsed]


def _load(path: Path) -> None:
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise UserError(f"{KEY}: {path}: is no Python file that can be imported; name it like my_tracker.py")
    if not path.is_file():
        raise UserError(f"{KEY}: {path}: no such file")
    # 1. The name of the file becomes the name of the module, so two plugins cannot share it.
    name = f"{PACKAGE}.{path.stem}"
    other = _by_name().get(path.stem) or getattr(sys.modules.get(name), "__file__", None) or path
    if Path(other) != path:
        raise UserError(f"{KEY}: {path}: {other} has the same name; rename one of them")
    # 2. Let the finder know the path, in this process and in those that it starts.
    before = os.environ.get(VARIABLE)
    # Without repetitions, in the order of the command line: child processes import them in this order.
    os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys(map(str, (*loaded_plugins(), path))))
    install_finder()
    # 3. Import it. The author of a plugin needs the line of an error more than our frames of a traceback.
    try:
        importlib.import_module(name)
    except BaseException as fault:
        _forget(before)
        if isinstance(fault, UserError) or not isinstance(fault, Exception):
            raise
        raise UserError(f"{KEY}: {path}{_line_of(fault, path)}: {type(fault).__name__}: {fault}") from fault


def _forget(variable: str | None) -> None:
    """Set the environment variable back to what it was before a plugin that cannot be imported."""
    if variable is None:
        del os.environ[VARIABLE]
    else:
        os.environ[VARIABLE] = variable


def _line_of(fault: Exception, path: Path) -> str:
    """`:LINE` of the plugin at which an import failed; empty where it is not known."""
    if isinstance(fault, SyntaxError) and fault.filename == str(path):
        return f":{fault.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == str(path)
    ]
    return f":{lines[-1]}" if lines else ""
