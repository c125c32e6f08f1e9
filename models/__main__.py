"""`python -m models task=…`: what can be done with a checkpoint beside tracking and training."""

import sys
from pathlib import Path

from configs.app import run_command
from models.config import ModelsSettings

DOC = (
    "Examine a grounder and a mask head, or convert checkpoints of mask heads between Meta's layout and that "
    "of transformers."
)


def main(settings: ModelsSettings) -> int:
    """Do the task; the exit status."""
    return {"convert": _convert, "doctor": _doctor}[settings.task](settings)


# The modules of the tasks are imported inside the functions, so that `--help` imports no torch.
def _convert(settings: ModelsSettings) -> int:
    from models.commands.convert import convert

    convert(settings.checkpoint, Path(settings.out))
    return 0


def _doctor(settings: ModelsSettings) -> int:
    import torch

    from models.commands.doctor import doctor, doctor_of_endpoint
    from models.config_checks import require_multimodal_llm
    from models.devices import choose_device

    out = Path(settings.out)
    if settings.endpoint:
        model = require_multimodal_llm(settings.model, "endpoint=")
        return doctor_of_endpoint(settings.endpoint, settings.served_model, model, out)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    return doctor(settings.model, settings.mask_head, out, device)


if __name__ == "__main__":
    sys.exit(run_command("models", main, DOC))
