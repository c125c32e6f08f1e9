"""`python -m infer …`: track what the words say, in a VOTSr workspace, a video, or a rendered demo."""

import sys

from configs.app import run_command
from infer.config import InferSettings


def main(settings: InferSettings) -> int:
    """Track; the exit status is 0 only where every track was written and, if asked for, packed."""
    from infer.checks import check_settings

    check_settings(settings)
    from infer.run import run  # takes many seconds: not before the settings are known to be right

    return run(settings)


def refuse(settings: InferSettings) -> None:
    """Raise UserError where `out=` holds the results of a run over something else: it stays as it is."""
    from infer.checks import check_place

    check_place(settings)


if __name__ == "__main__":
    doc = "Track what the words say; get its mask in every frame."
    sys.exit(run_command("infer", main, doc, refuse=refuse))
