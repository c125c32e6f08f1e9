"""`python -m data_prep task=...`: index data sets, draw training pairs, render a world, make workspaces."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.app import run_command
from configs.errors import UserError
from configs.record import RECORD
from configs.terminal import counted, echo
from data_prep.config import (
    TASKS,
    CheckTask,
    DataSettings,
    ExportTask,
    ImportReasoningTrackTask,
    IndexTask,
    LookTask,
    MeasureTask,
    PairTask,
    RenderTask,
    SampleTask,
    SheetTask,
    UnpackTask,
    VotsrInitTask,
)
from data_prep.files import real_path

if TYPE_CHECKING:
    from data_prep.sampling.lines import PairPlan

SHOWN = 10  # pairs left out whose reasons are printed


def main(settings: DataSettings) -> int | None:
    """Do the task that the settings are of; the exit status, None for 0."""
    return RUN[type(settings)](settings)


def _votsr_init(settings: VotsrInitTask) -> None:
    from data_prep.votsr.init import votsr_init

    votsr_init(Path(settings.out), settings.stack)
    echo(f"workspace: {settings.out}")


def _check(settings: CheckTask) -> int:
    from data_prep.check.report import LEAVE_OUT, REPORT, CheckSettings, print_report, write_report
    from data_prep.check.run import check_split
    from data_prep.readers.reader import reader_of

    if len(settings.data) != 1 or not settings.root:
        raise UserError("task=check: name one data set and its folder, as data=[tnllt] root=/data/TNLLT")
    # The reader is looked up first: a wrong split is reported before any work.
    reader, how = reader_of(settings.data[0], settings.split), CheckSettings(settings.decode, settings.margin)
    started, out = time.monotonic(), Path(settings.out)
    checked = check_split(reader, Path(settings.root), settings.split, how, settings.workers)
    write_report(out, checked)
    print_report(checked)
    seconds, broken = time.monotonic() - started, len(checked.broken)
    echo(
        f"check: {out / REPORT} ({counted(checked.sequences, 'sequence')}, {broken} broken; "
        f"in {seconds:.0f} s)"
    )
    if broken:
        echo(f"leave them out: task=index leave_out={out / LEAVE_OUT}")
    return int(broken > 0)


def _unpack(settings: UnpackTask) -> None:
    from data_prep.unpack.extract import Limits
    from data_prep.unpack.run import GIB, unpack

    if not settings.archive:
        raise UserError("task=unpack: name the parts, as archive='TNLLT_part_*' out=/data/TNLLT")
    # The keys count GiB, the limits bytes.
    limits = Limits(settings.max_gib * GIB, settings.max_members, settings.max_ratio)
    done = unpack(settings.archive, Path(settings.out), settings.md5, settings.tar_md5, limits)
    # Notes first, so that the summary is the last line.
    for line in done.notes:
        echo(line)
    state, compared = done.state, "as wanted" if settings.md5 or settings.tar_md5 else "not compared"
    echo(f"md5 {compared}: {state.md5} of the parts, {state.tar_md5} of the tar archive")
    echo(
        f"unpacked: {settings.out} ({counted(state.members, 'member')}, {state.bytes / GIB:.2f} GiB; "
        f"{counted(done.written, 'file')} written now)"
    )


def _index(settings: IndexTask) -> None:
    from data_prep.index.build import build_index, index_path
    from data_prep.readers.reader import reader_of

    if len(settings.data) != 1 or not settings.root:
        raise UserError("task=index: name one data set and its folder, as data=[tnllt] root=/data/TNLLT")
    reader, folder = reader_of(settings.data[0], settings.split), Path(settings.indexes)
    started = time.monotonic()
    # Notes and sequences that were left out are printed from the index, so also where it was made earlier.
    unread = Path(settings.leave_out) if settings.leave_out else None
    about, now = build_index(reader, Path(settings.root), settings.split, folder, settings.workers, unread)
    for line in (*about.notes, *(f"left out: {left.name}: {left.reason}" for left in about.left_out)):
        echo(line)
    path = index_path(folder, reader.name, settings.split)
    # An index of unchanged data is not made again.
    done = f"made in {time.monotonic() - started:.0f} s" if now else "the data have not changed"
    echo(f"index: {path} ({counted(about.sequences, 'sequence')}, {len(about.left_out)} left out; {done})")


def _sample(settings: SampleTask) -> None:
    from data_prep.sampling.lines import write_pairs

    path, started = Path(settings.out) / "pairs.jsonl", time.monotonic()
    write_pairs(path, _pair_plan(settings), _numbers(settings), settings.workers)
    seconds = time.monotonic() - started
    echo(f"pairs: {path} ({settings.n} in {seconds:.1f} s)")


def _look(settings: LookTask) -> None:
    import matplotlib

    # No window is opened: the command also runs on a machine without a screen.
    matplotlib.use("Agg")  # before pyplot: there need be no screen
    from data_prep.exchange.exporter import contract_of
    from data_prep.look import write_plots, write_samples

    plan, out = _pair_plan(settings), Path(settings.out)
    contract = contract_of(settings.contract)
    # Plots need the indexes only; samples also read the images.
    write_plots(out / "plots.png", plan.sampler())
    failed = write_samples(out / "samples.png", plan, contract, settings.first)
    if failed:
        echo(f"{failed} of the pairs shown cannot be read; the sheet says why, task=check finds all")
    echo(f"look: {out / 'samples.png'} and {out / 'plots.png'}")


def _pair_plan(settings: PairTask) -> "PairPlan":
    from data_prep.index.build import indexes_of
    from data_prep.sampling.lines import PairPlan

    if not settings.data:
        task = settings.task
        raise UserError(f"task={task}: name data sets that were indexed, as data=[tnl2k,tnllt] weights=[7,3]")
    # One split for all data sets, or one for each.
    indexes = indexes_of(Path(settings.indexes), settings.data, settings.splits or [settings.split])
    return PairPlan(indexes, settings.pairs, settings.seed, tuple(settings.weights))


def _numbers(settings: SampleTask) -> range:
    return range(settings.first, settings.first + settings.n)


def _export(settings: ExportTask) -> None:
    from data_prep.exchange import export_formats
    from data_prep.exchange.export import ABOUT, export
    from data_prep.exchange.exporter import ExportPlan, contract_of, safe

    if settings.format is None:
        raise UserError(f"task=export: give the format of the records, format={'|'.join(export_formats())}")
    # The pixel budgets of the contract are brought within the limits of the trainers.
    contract = safe(contract_of(settings.contract))
    # The path is absolute, since records refer to images by it.
    plan = ExportPlan(
        _pair_plan(settings),
        settings.format,
        contract,
        settings.coordinates or contract.coordinates,
        settings.fill,
        real_path(settings.out),
    )
    started = time.monotonic()
    path, count, left_out = export(plan, _numbers(settings), settings.workers)
    # All reasons are in export.json; the terminal shows the first ones.
    for number, reason in left_out[:SHOWN]:
        echo(f"left out: pair {number}: {reason}")
    if len(left_out) > SHOWN:
        echo(f"left out: {len(left_out) - SHOWN} more; see {path.with_name(ABOUT)}")
    seconds = time.monotonic() - started
    echo(f"records: {path} ({count}, {len(left_out)} left out; in {seconds:.0f} s)")


def _import_reasoningtrack(settings: ImportReasoningTrackTask) -> None:
    from data_prep.exchange.reasoningtrack import Roots, read_records, write_records

    if not settings.source:
        raise UserError("task=import_reasoningtrack: name a file of records, as source=sft_lasot.json")
    # Records that cannot be parsed are reported one by one, and the others are imported.
    imported = read_records(Path(settings.source), Roots(settings.root_map))
    paths = write_records(Path(settings.out), imported.records, settings.format)
    for number, reason in imported.left_out:
        echo(f"left out: record {number}: {reason}")
    if imported.missing:
        missing = counted(len(imported.missing), "image")
        echo(f"missing: {missing}, the first {imported.missing[0]}; see root_map=")
    message = f"{len(imported.records)}, {len(imported.left_out)} left out"
    echo(f"records: {', '.join(map(str, paths))} ({message})")


def _render(settings: RenderTask) -> None:
    from data_prep.world.presets import PRESETS
    from data_prep.world.render import render_workspace

    out = Path(settings.out)
    _check_place(out, settings.layout)
    # The layouts of boxes have one file of text for each video.
    if settings.layout != "votsr" and settings.expressions > 1:
        raise UserError(
            f"expressions={settings.expressions}: layout={settings.layout} holds one text a video"
        )
    started = time.monotonic()
    # The videos are written in parallel; only their names come back.
    names = render_workspace(
        out,
        PRESETS[settings.preset],
        settings.sequences,
        settings.expressions,
        settings.frames,
        settings.workers,
        settings.layout,
    )
    seconds = time.monotonic() - started
    what = "workspace" if settings.layout == "votsr" else f"videos as {settings.layout}"
    echo(f"{what}: {out} ({counted(len(names), 'sequence')} in {seconds:.0f} s)")


def _check_place(out: Path, layout: str) -> None:
    """Raise UserError where rendering would mix videos: no list says which are of one set."""
    # Results in the workspace belong to other videos of the same names.
    if (out / "results").exists():
        raise UserError(f"out={out}: holds results; name another folder or remove it")
    others = sorted(path.name for path in out.iterdir() if path.name not in RECORD) if out.is_dir() else []
    if layout != "votsr" and others:
        raise UserError(
            f"out={out}: holds {others[0]} already; name an empty folder, or remove what is there"
        )


def _sheet(settings: SheetTask) -> None:
    from data_prep.world.overview import write_sheet
    from data_prep.world.presets import PRESETS

    path = Path(settings.out) / f"{settings.preset}.png"
    write_sheet(path, PRESETS[settings.preset])
    echo(f"sheet: {path}")


def _measure(settings: MeasureTask) -> None:
    from data_prep.world.overview import measure
    from data_prep.world.presets import PRESETS

    preset = PRESETS[settings.preset]
    echo(str(measure(preset, settings.sequences or preset.sequences)))


RUN: dict[type[DataSettings], Callable[[Any], int | None]] = {
    CheckTask: _check,
    IndexTask: _index,
    SampleTask: _sample,
    LookTask: _look,
    ExportTask: _export,
    UnpackTask: _unpack,
    ImportReasoningTrackTask: _import_reasoningtrack,
    RenderTask: _render,
    SheetTask: _sheet,
    MeasureTask: _measure,
    VotsrInitTask: _votsr_init,
}
"""What does each task, by the class of its settings."""

DOC = "Prepare data. Tasks: " + " ".join(f"{name}: {settings.__doc__}" for name, settings in TASKS.items())

if __name__ == "__main__":
    sys.exit(run_command("data_prep", main, DOC))
