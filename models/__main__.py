"""`python -m models task=…`: what can be done with a checkpoint beside tracking and training."""

import sys
from pathlib import Path

from configs.app import run_command
from models.config import ModelsSettings

DOC = "Convert checkpoints of mask heads between Meta's layout and that of transformers."


def main(settings: ModelsSettings) -> int:
    """Do the task; the exit status."""
    {"convert": _convert}[settings.task](settings)
    return 0


def _convert(settings: ModelsSettings) -> None:
    # Imported here, so that `--help` imports no torch.
    from models.commands.convert import convert

    convert(settings.checkpoint, Path(settings.out))


if __name__ == "__main__":
    sys.exit(run_command("models", main, DOC))
