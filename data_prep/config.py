"""Settings of data preparation. Imports nothing heavy."""

from dataclasses import dataclass

from omegaconf import MISSING, OmegaConf

from configs.app import register
from configs.plugins import DOC as PLUGINS
from configs.schema import key
from data_prep.readers import data_sets
from data_prep.sampling.settings import PairSettings

TASKS = (
    "check",
    "index",
    "sample",
    "look",
    "export",
    "unpack",
    "import_reasoningtrack",
    "render",
    "sheet",
    "measure",
    "votsr_init",
)
BY_SPLIT = ("check", "sample", "look", "export")  # tasks whose results are of splits of data sets
LAYOUTS = ("votsr", "tnl2k", "tnllt")
FORMATS = ("swift", "llamafactory_sharegpt", "llamafactory_alpaca", "vptracker")
COORDINATES = ("resized", "frame", "thousand")
WORLDS = ("plain", "train", "val", "test", "hard", "other_look", "varied", "demo")


@dataclass(frozen=True)
class DataSettings:
    """Everything a run of `python -m data_prep` is told."""

    task: str = key(
        MISSING,
        "check: find what is wrong with a data set; index: parse its annotations once; "
        "sample: draw training pairs from indexes; export: the same as another trainer's records; "
        "import_reasoningtrack: read that system's records; unpack: a data set's archive in parts; "
        "render: a workspace of the rendered world; sheet: a picture of it; measure: figures of it; "
        "votsr_init: the challenge's own workspace",
        choices=TASKS,
    )
    preset: str = key("demo", "task=render, sheet, measure: preset of the rendered world", choices=WORLDS)
    sequences: int = key(0, "task=render, measure: how many videos; 0: the preset's own", minimum=0)
    expressions: int = key(0, "task=render: texts for each target; 0: the preset's own", minimum=0, maximum=4)
    frames: int = key(0, "task=render: most frames a video has; 0: the preset's own", minimum=0)
    layout: str = key(
        "votsr", "task=render: a VOTSr workspace, or sequences as TNL2K or TNLLT have them", choices=LAYOUTS
    )
    data: list[str] = key([], "task=check, index, sample, export: names of data sets", choices=data_sets)
    split: str = key(
        "train", "task=check, index, sample, export: train, test, val, …; whatever the data set calls it"
    )
    splits: list[str] = key(
        [],
        "task=sample, look, export: the split of each data set, as [vot_train,train]; empty: split= for all",
    )
    root: str = key("", "task=check, index: folder in which the data set lies")
    decode: bool = key(
        False,
        "task=check: decode every frame whole, not its header alone: slower, and only so are truncated "
        "JPEGs found",
    )
    margin: float = key(
        2.0, "task=check: how many pixels a box may reach beyond its image before it is told", minimum=0.0
    )
    leave_out: str = key(
        "",
        "task=index: file that names sequences not to read, as the leave_out.txt of task=check; empty: none",
    )
    indexes: str = key("outputs/indexes", "folder of all indexes")
    n: int = key(1000, "task=sample, export: how many pairs", minimum=1)
    first: int = key(
        0, "task=sample, look, export: number of the first pair; pair k is the same in every run", minimum=0
    )
    seed: int = key(0, "task=sample, look, export: of the pairs")
    weights: list[float] = key(
        [], "task=sample, look, export: how often each data set is drawn from; empty: alike"
    )
    pairs: PairSettings = key(PairSettings(), "how pairs are drawn")
    format: str | None = key(
        None,
        "task=export: whose records to write; task=import_reasoningtrack: write them in this form too "
        "(not vptracker)",
        choices=FORMATS,
    )
    contract: str = key(
        "qwen",
        "task=look, export: prompt contract: qwen (Qwen2.5-VL), qwen3 (Qwen3-VL), short, or a checkpoint's "
        "folder with its contract.json",
    )
    coordinates: str | None = key(
        None,
        "task=export: what the numbers of a box count: pixels of the picture written (Qwen2.5-VL), pixels of "
        "the original frame, or thousandths of its sides (Qwen3-VL); unless given, as the contract says",
        choices=COORDINATES,
    )
    fill: bool = key(
        False,
        "task=export format=swift: leave the numbers to ms-swift, which fills <bbox> in from objects; "
        "export.json then says which settings it needs",
    )
    source: str = key("", "task=import_reasoningtrack: json file of records")
    root_map: dict[str, str] = key(
        {},
        "task=import_reasoningtrack: by data set, what replaces /your_root_path in its pictures' paths, as "
        "{lasot:/data/LaSOT}",
    )
    workers: int = key(
        0, "task=check, index, sample, export, render: processes that work; 0: one a core", minimum=0
    )
    stack: str = key("vots2026/referral", "task=votsr_init: stack of the VOT toolkit")
    archive: str = key("", "task=unpack: the parts, in quotes, as 'TNLLT_part_*'; tar, plain or gz, xz, bz2")
    md5: str = key("", "task=unpack: md5 of the joined parts, or a file that holds it; empty: not compared")
    tar_md5: str = key("", "task=unpack: md5 of what they decompress to, likewise")
    max_gib: float = key(
        1024.0, "task=unpack: most GiB of files in all, more is refused; inf: no limit", minimum=0.0
    )
    max_members: int = key(10_000_000, "task=unpack: most files and folders", minimum=1)
    max_ratio: float = key(
        100.0, "task=unpack: most bytes that one byte decompresses to; inf: no limit", minimum=1.0
    )
    plugins: list[str] = key([], PLUGINS)
    out: str = key(
        "outputs/data_prep/${task_folder:${task},${data},${split},${splits}}",
        "folder of what the task writes: workspace, videos, an archive's files, report, pairs, pictures or "
        "records; of task=index the run's record alone (see indexes=)",
    )


def task_folder(task: str, data: list[str], split: str, splits: list[str]) -> str:
    """The default name of a task's folder: what it does and, where data sets are read, to which splits."""
    if task not in BY_SPLIT or not data:
        return task
    return f"{task}/{'+'.join(data)}-{'+'.join(splits or [split])}"


OmegaConf.register_new_resolver("task_folder", task_folder, replace=True)
register("data_prep", DataSettings)
