"""Settings of `python -m data_prep task=...`: one dataclass for each task. Imports nothing heavy.

`task` is a group of Hydra's. Each option adds its own keys at the top level of the command line, as in
`task=index root=/data/TNLLT`, and no key of another task is accepted. `task=index --help` lists them.
"""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING, OmegaConf

from configs.app import register
from configs.plugins import DOC as PLUGINS
from configs.schema import key
from data_prep.exchange import export_formats
from data_prep.readers import data_sets
from data_prep.sampling.settings import PairSettings

LAYOUTS = ("votsr", "tnl2k", "tnllt")
COORDINATES = ("resized", "frame", "thousand")
WORLDS = (
    "plain", "train", "val", "test", "hard", "other_look", "varied", "small", "small_val",
    "footage", "footage_val",
    "words_val", "words", "demo",
)  # fmt: skip
INDEXES = "folder of all indexes"
WORKERS = "worker processes; 0: one for each core"
PRESET = "preset of the rendered world"


def _task(name: str) -> Any:
    """The key `task` of the settings of one task."""
    return key(name, "what to do; each task has keys of its own", choices=lambda: tuple(TASKS))


@dataclass(frozen=True)
class DataSettings:
    """The keys of every task."""

    task: str = _task(MISSING)
    plugins: list[str] = key([], PLUGINS)
    out: str = key("outputs/data_prep/${task}", "folder of what the task writes")


# ---- data sets -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class OneDataSet(DataSettings):
    """Keys of the tasks that read a split of a data set from its files."""

    # A list, as in the tasks that draw from several data sets, so that the key has one form everywhere.
    data: list[str] = key([], "name of the data set, as [tnllt]", choices=data_sets)
    root: str = key("", "folder of the data set")
    split: str = key("train", "split to read: train, test, val or another name that the data set uses")
    workers: int = key(0, WORKERS, minimum=0)


@dataclass(frozen=True)
class CheckTask(OneDataSet):
    """Find out what is wrong with a data set."""

    task: str = _task("check")
    decode: bool = key(
        False, "decode every frame instead of its header only; slower, but only this finds truncated JPEGs"
    )
    margin: float = key(
        2.0, "pixels by which a box may reach beyond its image before that is reported", minimum=0.0
    )
    # Reports of different splits do not overwrite each other.
    out: str = key("outputs/data_prep/${task_folder:${task},${data},${split},[]}", "folder of the report")


@dataclass(frozen=True)
class IndexTask(OneDataSet):
    """Read the annotations of a data set once, into an index."""

    task: str = _task("index")
    leave_out: str = key(
        "", "file that names sequences to leave out, such as the leave_out.txt of task=check; empty: none"
    )
    indexes: str = key("outputs/indexes", INDEXES)
    out: str = key("outputs/data_prep/${task}", "folder of the record of the run; the index is in indexes=")


# ---- pairs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairTask(DataSettings):
    """Keys of the tasks that draw training pairs from indexes."""

    data: list[str] = key([], "names of the indexed data sets, as [tnl2k,tnllt]", choices=data_sets)
    split: str = key("train", "split of all data sets")
    splits: list[str] = key(
        [], "one split for each data set, as [vot_train,train]; empty: the split of split= for all"
    )
    weights: list[float] = key(
        [], "how often each data set is drawn from, relative to the others; empty: equally often"
    )
    indexes: str = key("outputs/indexes", INDEXES)
    first: int = key(0, "number of the first pair; pair k of a seed is the same in every run", minimum=0)
    seed: int = key(0, "seed of the pairs")
    pairs: PairSettings = key(PairSettings(), "how pairs are drawn")
    out: str = key(
        "outputs/data_prep/${task_folder:${task},${data},${split},${splits}}",
        "folder of what the task writes",
    )


@dataclass(frozen=True)
class SampleTask(PairTask):
    """Write training pairs as JSON lines."""

    task: str = _task("sample")
    n: int = key(1000, "number of pairs", minimum=1)
    workers: int = key(0, WORKERS, minimum=0)


CONTRACT = (
    "contract of questions and answers: instruct (Qwen2.5-VL), instruct3 (Qwen3-VL), short, vptracker, or a "
    "checkpoint's folder with its contract.json"
)


@dataclass(frozen=True)
class LookTask(PairTask):
    """Draw pairs and statistics as images."""

    task: str = _task("look")
    contract: str = key("instruct", CONTRACT)


@dataclass(frozen=True)
class ExportTask(SampleTask):
    """Write training pairs as the records of another trainer."""

    task: str = _task("export")
    format: str | None = key(None, "format of the records", choices=export_formats)
    contract: str = key("instruct", CONTRACT)
    coordinates: str | None = key(
        None,
        "unit of a box's numbers: pixels of the resized image (Qwen2.5-VL), pixels of the original frame, or "
        "thousandths of the image's sides (Qwen3-VL); null: that of the contract",
        choices=COORDINATES,
    )
    fill: bool = key(
        False,
        "format=swift: let ms-swift write the boxes in place of <bbox>; export.json lists the settings that "
        "ms-swift then needs",
    )


@dataclass(frozen=True)
class ImportReasoningTrackTask(DataSettings):
    """Read the training records of ReasoningTrack."""

    task: str = _task("import_reasoningtrack")
    source: str = key("", "JSON file of records")
    root_map: dict[str, str] = key(
        {},
        "by data set, what replaces /your_root_path in the paths of images, as {lasot:/data/LaSOT}",
    )
    format: str | None = key(
        None, "write the records in this format too (not vptracker)", choices=export_formats
    )


# ---- archives and workspaces ---------------------------------------------------------------------


@dataclass(frozen=True)
class UnpackTask(DataSettings):
    """Unpack the archive of a data set that is published in parts."""

    task: str = _task("unpack")
    archive: str = key("", "the parts, in quotes, as 'TNLLT_part_*': tar, plain or compressed by gz, xz, bz2")
    md5: str = key("", "MD5 of the joined parts, or a file that holds it; empty: not compared")
    tar_md5: str = key("", "MD5 of the decompressed archive, or a file that holds it; empty: not compared")
    max_gib: float = key(1024.0, "most GiB of files in all; inf: no limit", minimum=0.0)
    max_members: int = key(10_000_000, "most files and folders", minimum=1)
    max_ratio: float = key(
        100.0, "most bytes that one compressed byte may decompress to; inf: no limit", minimum=1.0
    )


@dataclass(frozen=True)
class VotsrInitTask(DataSettings):
    """Download the workspace of a VOTS challenge."""

    task: str = _task("votsr_init")
    stack: str = key("vots2026/referral", "stack of the VOT toolkit")
    out: str = key("outputs/data_prep/${task}", "folder of the workspace")


# ---- the rendered world --------------------------------------------------------------------------


@dataclass(frozen=True)
class RenderTask(DataSettings):
    """Render videos of the rendered world."""

    task: str = _task("render")
    preset: str = key("demo", PRESET, choices=WORLDS)
    sequences: int = key(0, "number of videos; 0: that of the preset", minimum=0)
    expressions: int = key(0, "expressions for each target; 0: that of the preset", minimum=0, maximum=4)
    frames: int = key(0, "most frames of a video; 0: that of the preset", minimum=0)
    layout: str = key(
        "votsr", "votsr: a VOTSr workspace; tnl2k, tnllt: the files of these data sets", choices=LAYOUTS
    )
    workers: int = key(0, WORKERS, minimum=0)
    out: str = key("outputs/data_prep/${task}", "folder of the workspace or of the videos")


@dataclass(frozen=True)
class SheetTask(DataSettings):
    """Draw a contact sheet of a preset of the rendered world."""

    task: str = _task("sheet")
    preset: str = key("demo", PRESET, choices=WORLDS)


@dataclass(frozen=True)
class MeasureTask(DataSettings):
    """Print statistics of a preset of the rendered world."""

    task: str = _task("measure")
    preset: str = key("demo", PRESET, choices=WORLDS)
    sequences: int = key(0, "number of videos to measure; 0: that of the preset", minimum=0)


TASKS: dict[str, DataSettings] = {
    # By name, for the options of `task=`. The order is that of the messages.
    settings.task: settings
    for settings in (
        CheckTask(),
        IndexTask(),
        SampleTask(),
        LookTask(),
        ExportTask(),
        UnpackTask(),
        ImportReasoningTrackTask(),
        RenderTask(),
        SheetTask(),
        MeasureTask(),
        VotsrInitTask(),
    )
}
"""The options of `task=`."""


def task_folder(task: str, data: list[str], split: str, splits: list[str]) -> str:
    """The default name of a task's folder: the task and, if data sets are named, these and their splits."""
    if not data:
        return task
    return f"{task}/{'+'.join(data)}-{'+'.join(splits or [split])}"


OmegaConf.register_new_resolver("task_folder", task_folder, replace=True)
register("data_prep", DataSettings, {"task": TASKS}, flat=("task",))
