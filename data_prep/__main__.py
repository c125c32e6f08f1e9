"""`python -m data_prep task=… …`: index data sets and draw from them; render a world; make workspaces."""

import sys
import time
from pathlib import Path

from configs.app import run_command
from configs.errors import UserError
from data_prep.config import DataSettings


def main(settings: DataSettings) -> None:
    """Do the task that the settings name."""
    tasks = {"votsr_init": _votsr_init, "render": _render, "index": _index, "sample": _sample}
    tasks.get(settings.task, _show)(settings)


def _votsr_init(settings: DataSettings) -> None:
    from data_prep.votsr.init import votsr_init

    votsr_init(Path(settings.out), settings.stack)
    print(f"workspace: {settings.out}")


def _index(settings: DataSettings) -> None:
    from data_prep.index.build import build_index, index_path
    from data_prep.readers.registry import reader_of

    if len(settings.data) != 1 or not settings.root:
        raise UserError("task=index: name one data set and its folder, as data=[tnllt] root=/data/TNLLT")
    reader, folder = reader_of(settings.data[0], settings.split), Path(settings.indexes)
    started = time.monotonic()
    about, now = build_index(reader, Path(settings.root), settings.split, folder, settings.workers)
    for line in (*about.notes, *(f"left out: {left.name}: {left.reason}" for left in about.left_out)):
        print(line)
    path = index_path(folder, reader.name, settings.split)
    done = f"made in {time.monotonic() - started:.0f} s" if now else "the data have not changed"
    print(f"index: {path} ({about.sequences} sequences, {len(about.left_out)} left out; {done})")


def _sample(settings: DataSettings) -> None:
    from data_prep.index.build import index_path
    from data_prep.sampling.lines import PairPlan, write_pairs

    if not settings.data:
        raise UserError("task=sample: name data sets that were indexed, as data=[tnl2k,tnllt] weights=[7,3]")
    indexes = tuple(index_path(Path(settings.indexes), name, settings.split) for name in settings.data)
    plan = PairPlan(indexes, settings.pairs, settings.seed, tuple(settings.weights))
    path, started = Path(settings.out) / "pairs.jsonl", time.monotonic()
    write_pairs(path, plan, range(settings.first, settings.first + settings.n), settings.workers)
    seconds = time.monotonic() - started
    print(f"pairs: {path} ({settings.n} in {seconds:.1f} s)")


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
    sys.exit(
        run_command(
            "data_prep",
            main,
            "Prepare data: index data sets, draw pairs, render a world, or fetch the VOTSr challenge.",
        )
    )
