"""`python -m train recipe=nano_grounder|nano_mask_head …`: train, or go on where a run stopped."""

import logging
import sys
from pathlib import Path

from configs.app import run_command
from train.config import TrainSettings


def main(settings: TrainSettings) -> int:
    """Run the recipe that the settings hold."""
    from models.checkpoint import choose_device
    from train.config import GrounderRecipe, SftRecipe
    from train.grounder import train_grounder
    from train.launch.plan import launch_sft, refuse_several
    from train.mask_head import run as train_mask_head

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True)
    out, device = Path(settings.out), choose_device(settings.device)
    if isinstance(settings.recipe, SftRecipe):
        return launch_sft(settings.launch, settings.recipe, settings.model, out, device)
    refuse_several(settings.launch)
    if isinstance(settings.recipe, GrounderRecipe):
        train_grounder(settings.recipe, out, device)
    else:
        train_mask_head(settings.recipe, out, device)
    return 0


if __name__ == "__main__":
    sys.exit(run_command("train", main, "Train the small models from scratch in the rendered world."))
