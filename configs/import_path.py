"""Where a command's imports come from: the checkout first, and never the folder it is started in.

`python -m infer` puts the working folder first on Python's path. A data set's folder or another project may
hold a `hydra.py` or a `models/`, which would run in place of ours. `infer.sh` and `train.sh` set
PYTHONSAFEPATH, so Python leaves the working folder out from its start; here it is taken off the path before
anything but this package was imported, and off that of every process started from here.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from configs.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("benchmarks", "configs", "data_prep", "evaluation", "infer", "models", "train")


def leave_working_folder() -> None:
    """Where one of our commands runs by `python -m`, put the checkout in the working folder's place.

    Python's path is then as PYTHONSAFEPATH and PYTHONPATH say, which this process's children find so set.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None or spec.name.partition(".")[0] not in PACKAGES:
        return  # somebody else's program, a test, an interpreter: its path is its own
    dropped = {str(Path(entry).absolute()) for entry in _named(os.environ) if not _stays(entry)}
    path = sys.path if sys.flags.safe_path else sys.path[1:]  # `python -m` puts the working folder first
    sys.path[:] = [str(ROOT), *(entry for entry in path if str(Path(entry).absolute()) not in dropped)]
    os.environ.update(safe_path_variables(os.environ))


def safe_path_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What to set for a Python that shall import from the checkout and not from its working folder."""
    others = [entry for entry in _named(environment) if _stays(entry) and entry != str(ROOT)]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *others])}


def _named(environment: Mapping[str, str]) -> list[str]:
    text = environment.get("PYTHONPATH", "")
    return text.split(os.pathsep) if text else []


def _stays(entry: str) -> bool:
    """Whether an entry of PYTHONPATH names one folder wherever it is read (an empty one does not)."""
    return Path(entry).is_absolute()


def check_one_checkout() -> None:
    """Raise UserError where packages of ours were imported from two places, as from a `configs/` nearby."""
    for name in PACKAGES:
        module = sys.modules.get(name)
        places = [Path(place).resolve() for place in module.__path__] if module else [ROOT / name]
        if ROOT / name not in places:
            raise UserError(
                f"{places[0]}: was imported in place of {ROOT / name}; start the command in another folder, "
                "or as python -P -m"
            )
