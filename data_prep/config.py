"""Settings of data preparation. Imports nothing heavy."""

from dataclasses import dataclass

from configs.app import register
from configs.schema import key
from data_prep.sampling.settings import PairSettings

TASKS = ("index", "sample", "render", "sheet", "measure", "votsr_init")
DATA_SETS = (
    "tnl2k",
    "tnllt",
    "lasot",
    "lasotext",
    "otb99",
    "got10k",
    "trackingnet",
    "vasttrack",
    "refcoco",
    "refcocoplus",
    "refcocog",
    "refytvos",
    "refdavis",
    "mevis",
    "sav",
    "votsr",
)
LAYOUTS = ("votsr", "tnl2k", "tnllt")
WORLDS = ("plain", "train", "val", "test", "hard", "other_look", "varied", "demo")


@dataclass(frozen=True)
class DataSettings:
    """Everything a run of `python -m data_prep` is told."""

    task: str = key(
        "render",
        "index: parse a data set's annotations once; sample: draw training pairs from indexes; "
        "render: a workspace of the rendered world; sheet: a picture of it; measure: figures of it; "
        "votsr_init: the challenge's own workspace",
        choices=TASKS,
    )
    preset: str = key("demo", "task=render, sheet, measure: preset of the rendered world", choices=WORLDS)
    sequences: int = key(0, "task=render, measure: how many videos; 0: the preset's own", minimum=0)
    prompts: int = key(0, "task=render: texts for each target; 0: the preset's own", minimum=0, maximum=4)
    frames: int = key(0, "task=render: most frames a video has; 0: the preset's own", minimum=0)
    layout: str = key(
        "votsr", "task=render: a VOTSr workspace, or sequences as TNL2K or TNLLT have them", choices=LAYOUTS
    )
    data: list[str] = key([], "task=index, sample: names of data sets", choices=DATA_SETS)
    split: str = key("train", "task=index, sample: train, test, val, …; whatever the data set calls it")
    root: str = key("", "task=index: folder in which the data set lies")
    indexes: str = key("outputs/indexes", "folder of all indexes")
    n: int = key(1000, "task=sample: how many pairs", minimum=1)
    first: int = key(0, "task=sample: number of the first pair; pair k is the same in every run", minimum=0)
    seed: int = key(0, "task=sample: of the pairs")
    weights: list[float] = key([], "task=sample: how often each data set is drawn from; empty: alike")
    pairs: PairSettings = key(PairSettings(), "how pairs are drawn")
    workers: int = key(0, "task=index, sample, render: processes that work; 0: one a core", minimum=0)
    stack: str = key("vots2026/referral", "task=votsr_init: stack of the VOT toolkit")
    out: str = key("outputs/data_prep/${task}", "folder of the workspace")


register("data_prep", DataSettings)
