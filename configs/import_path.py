"""The import path of a command: the checkout comes first, and the working folder is not on it.

`python -m infer` puts the working folder first on Python's path. A folder of data or of another project may
hold a `hydra.py` or a `models/`, and that code would then run instead of ours. `infer.sh` and `train.sh` set
PYTHONSAFEPATH, with which Python never adds the working folder. For a plain `python -m`, the functions here
remove it before any other package is imported, also for the processes that the command starts.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from configs.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("benchmarks", "configs", "data_prep", "evaluation", "infer", "models", "train")


def leave_working_folder() -> None:
    """Replace the working folder on the import path by the checkout, if `python -m` runs one of our commands.

    PYTHONSAFEPATH and PYTHONPATH are set accordingly, so child processes have the same path.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None or spec.name.partition(".")[0] not in PACKAGES:
        return  # another program, a test, an interpreter: its import path is not ours to change
    # 1. Entries of PYTHONPATH that mean the working folder: relative ones, and an empty one.
    dropped = {str(Path(entry).absolute()) for entry in _named(os.environ) if not _stays(entry)}
    # 2. `python -m` puts the working folder first, unless PYTHONSAFEPATH is set.
    path = sys.path if sys.flags.safe_path else sys.path[1:]
    # 3. The checkout comes first, so that an installed version of these packages is not imported instead.
    sys.path[:] = [str(ROOT), *(entry for entry in path if str(Path(entry).absolute()) not in dropped)]
    os.environ.update(safe_path_variables(os.environ))


def safe_path_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a Python process that imports from the checkout and not from its working folder."""
    others = [entry for entry in _named(environment) if _stays(entry) and entry != str(ROOT)]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *others])}


def _named(environment: Mapping[str, str]) -> list[str]:
    text = environment.get("PYTHONPATH", "")
    return text.split(os.pathsep) if text else []


def _stays(entry: str) -> bool:
    """Whether an entry of PYTHONPATH does not depend on the working folder. An empty one means it."""
    return Path(entry).is_absolute()


def check_one_checkout() -> None:
    """Raise UserError where packages of ours were imported from elsewhere, as from another `configs/`."""
    # A package may have several folders (a namespace package), of which one must be ours.
    for name in PACKAGES:
        module = sys.modules.get(name)
        places = [Path(place).resolve() for place in module.__path__] if module else [ROOT / name]
        if ROOT / name not in places:
            raise UserError(
                f"{places[0]}: was imported instead of {ROOT / name}; start the command in another folder, "
                "or as python -P -m"
            )
