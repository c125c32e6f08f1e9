"""`python -m train recipe=… …`: train or resume; merge adapters; describe a checkpoint."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.app import run_command
from configs.terminal import echo, log_to_terminal
from models.config import GrounderConfig
from train.config import TrainSettings
from train.registry import function_of, module_of
from train.sft.config import SftRecipe

DOC = (
    "Fine-tune a grounder, train the small models from scratch, calibrate or merge a checkpoint, or describe "
    "it."
)


@contextmanager
def hold(settings: TrainSettings) -> Iterator[None]:
    """Lock the folder of a run for this process, before its record is written.

    Of several processes only the first one locks it. Raises UserError if another run trains there, or if the
    folder holds a run of another identity (`train.loop.identity`).
    """
    # Imports inside functions keep `--help` fast: torch takes seconds to import.
    from configs.launch.nodes import is_first_process
    from data_prep.folders import alone_in
    from train.loop.identity import check_identity, read_identity

    if settings.task != "train" or not is_first_process(os.environ):
        yield
        return
    out = Path(settings.out)
    with alone_in(out, "trains"):
        # Before the record of this command replaces the one of the run.
        if read_identity(out) is not None:
            check_identity(out, _identity(settings, out), settings.accept_code)
        yield


def _identity(settings: TrainSettings, out: Path) -> dict[str, Any]:
    """The identity of the run that the settings describe, as far as it is known without loading a model."""
    from train.loop.identity import identity_from_scratch
    from train.sft.sources import identity_of_run, worlds_folder

    recipe = settings.recipe
    if isinstance(recipe, SftRecipe):
        return identity_of_run(recipe, _multimodal_llm(settings), worlds_folder(out))
    return identity_from_scratch(recipe, module_of(recipe))


def _multimodal_llm(settings: TrainSettings) -> GrounderConfig:
    """The grounder of the settings. Raises UserError where it is no multimodal LLM."""
    from models.config_checks import require_multimodal_llm

    return require_multimodal_llm(settings.model, f"task={settings.task}")


def main(settings: TrainSettings) -> int:
    """Run the task of the settings; the exit status. After a signal it raises SystemExit."""
    from configs.launch.signals import Stopped, StopSignal

    try:
        with StopSignal().handled():
            return _run(settings)
    except Stopped as stopped:
        if not stopped.is_reported:
            echo("stopped; run the same command again to resume", error=True)
        raise SystemExit(stopped.status) from None  # which ends a sweep, too


def _run(settings: TrainSettings) -> int:
    from models.config_checks import check_inference_keys
    from models.grounder.registry import check_grounder

    # 1. What can be checked before torch is imported.
    tunes = settings.task == "train" and isinstance(settings.recipe, SftRecipe)
    if tunes or settings.task == "merge":
        check_inference_keys(_multimodal_llm(settings))
    if tunes or settings.task in ("merge", "calibrate"):
        check_grounder(settings.model)
    from models.devices import choose_device
    from train.calibrate import calibrate
    from train.checkpoint_info import print_info
    from train.launch import launch_sft, refuse_several
    from train.merging import merge

    # 2. Fine-tuning may start several processes; everything else runs in this one.
    log_to_terminal(logging.INFO)
    out, device = Path(settings.out), choose_device(settings.device)
    if settings.task == "train" and isinstance(settings.recipe, SftRecipe):
        return launch_sft(settings.launch, settings.recipe, _multimodal_llm(settings), out, device)
    refuse_several(settings.launch, os.environ if settings.task == "train" else {})
    if settings.task == "info":
        print_info(_multimodal_llm(settings).checkpoint, out)
    elif settings.task == "calibrate":
        calibrate(settings.calibrate, settings.model, out, device)
    elif settings.task == "merge":
        merge(_multimodal_llm(settings), out, device)
    else:
        function_of(settings.recipe)(settings.recipe, out, device)
    return 0


if __name__ == "__main__":
    sys.exit(run_command("train", main, DOC, hold=hold))
