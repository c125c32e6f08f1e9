"""`python -m data_prep task=render|sheet|measure|votsr_init …`: make workspaces; look at the world."""

import sys
import time
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
    elif settings.task == "render":
        _render(settings)
    else:
        _show(settings)


def _render(settings: DataSettings) -> None:
    from data_prep.world.presets import PRESETS
    from data_prep.world.render import render_workspace

    out = Path(settings.out)
    if (out / "results").exists():
        raise UserError(f"out={out}: holds results; name another folder or remove it")
    if settings.layout != "votsr" and settings.prompts > 1:
        raise UserError(f"prompts={settings.prompts}: layout={settings.layout} holds one text a video")
    started = time.monotonic()
    names = render_workspace(
        out,
        PRESETS[settings.preset],
        settings.sequences,
        settings.prompts,
        settings.frames,
        settings.workers,
        settings.layout,
    )
    seconds = time.monotonic() - started
    print(f"workspace: {out} ({len(names)} sequences in {seconds:.0f} s)")


def _show(settings: DataSettings) -> None:
    """A contact sheet or the figures of a preset."""
    from data_prep.world.measure import measure
    from data_prep.world.presets import PRESETS
    from data_prep.world.sheet import write_sheet

    preset = PRESETS[settings.preset]
    if settings.task == "sheet":
        path = Path(settings.out) / f"{preset.name}.png"
        write_sheet(path, preset)
        print(f"sheet: {path}")
    else:
        print(measure(preset, settings.sequences or preset.sequences))


if __name__ == "__main__":
    sys.exit(run_command("data_prep", main, "Prepare data: render a world, or fetch the VOTSr challenge."))
