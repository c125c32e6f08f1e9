"""`python -m train recipe=… …`: train, or go on; merge adapters into weights; say what a checkpoint is."""

import logging
import sys
from pathlib import Path

from configs.app import run_command
from configs.terminal import log_to_terminal
from train.config import TrainSettings

DOC = "Fine-tune a grounder, or train the small models from scratch; merge adapters; say what weights are."


def refuse(settings: TrainSettings) -> None:
    """Raise UserError where a fine-tuning would go into the folder of one with other settings."""
    from train.config import SftRecipe

    if settings.task == "train" and isinstance(settings.recipe, SftRecipe):
        from train.sft.checkpoints import check_settings, settings_of

        check_settings(Path(settings.out), settings_of(settings.recipe, settings.model))


def main(settings: TrainSettings) -> int:
    """Run the task, or the recipe that the settings hold."""
    from data_prep.folders import alone_in
    from models.checkpoint import choose_device
    from train.checkpoint_info import tell_info
    from train.config import GrounderRecipe, SftRecipe
    from train.grounder import train_grounder
    from train.launch.plan import launch_sft, refuse_several
    from train.mask_head import run as train_mask_head
    from train.merging import merge

    log_to_terminal(logging.INFO)
    out, device = Path(settings.out), choose_device(settings.device)
    if settings.task == "train" and isinstance(settings.recipe, SftRecipe):
        return launch_sft(settings.launch, settings.recipe, settings.model, out, device)
    refuse_several(settings.launch)
    if settings.task == "info":
        tell_info(settings.model.checkpoint, out)
    elif settings.task == "merge":
        merge(settings.model, out, device)
    else:
        with alone_in(out, "trains"):
            if isinstance(settings.recipe, GrounderRecipe):
                train_grounder(settings.recipe, out, device)
            else:
                train_mask_head(settings.recipe, out, device)
    return 0


if __name__ == "__main__":
    sys.exit(run_command("train", main, DOC, refuse=refuse))
