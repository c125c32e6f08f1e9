"""`python -m data_prep task=render|votsr_init …`: make workspaces."""

import sys
from pathlib import Path

from configs.app import run_command
from configs.errors import UserError
from data_prep.config import DataSettings


def main(settings: DataSettings) -> None:
    """Do the task that the settings name."""
    if settings.task == "votsr_init":
        from data_prep.votsr.init import votsr_init

        votsr_init(Path(settings.out), settings.stack)
        print(f"workspace: {settings.out}")
    else:
        _render(settings)


def _render(settings: DataSettings) -> None:
    from data_prep.world.presets import PRESETS
    from data_prep.world.render import render_workspace

    out = Path(settings.out)
    if (out / "results").exists():
        raise UserError(f"out={out}: holds results; name another folder or remove it")
    preset = PRESETS[settings.preset]
    names = render_workspace(
        out, preset, settings.sequences, settings.prompts, settings.frames, settings.workers
    )
    print(f"workspace: {out} ({len(names)} sequences)")


if __name__ == "__main__":
    sys.exit(run_command("data_prep", main, "Prepare data: render a world, or fetch the VOTSr challenge."))
