"""The command that scores the results of a data set, for the end of a run."""

import shlex
from pathlib import Path

from infer.config import InferSettings

# by data set, `protocol=` of `python -m evaluation`; the others have no toolkit of their own there
PROTOCOLS = {
    "tnllt": "tnllt",
    "lasot": "lasot",
    "lasotext": "lasot",
    "tnl2k": "tnl2k",
    "otb99": "otb",
    "got10k": "got10k",
}
OTHERS = "pytracking"


def score_line(settings: InferSettings) -> str:
    """`python -m evaluation …` for the data set, split, index and results of these settings."""
    assert settings.data is not None
    given = {
        "protocol": PROTOCOLS.get(settings.data, OTHERS),
        "layout": "data",
        "data": settings.data,
        "split": settings.split,
        "indexes": Path(settings.indexes),
        "results": Path(settings.results),
    }
    return shlex.join(["python", "-m", "evaluation", *(f"{name}={value}" for name, value in given.items())])
