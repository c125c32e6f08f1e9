"""Settings of data preparation. Imports nothing heavy."""

from dataclasses import dataclass

from configs.app import register
from configs.schema import key

TASKS = ("render", "sheet", "measure", "votsr_init")
LAYOUTS = ("votsr", "tnl2k", "tnllt")
WORLDS = ("plain", "train", "val", "test", "hard", "other_look", "varied", "demo")


@dataclass(frozen=True)
class DataSettings:
    """Everything a run of `python -m data_prep` is told."""

    task: str = key(
        "render",
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
    workers: int = key(0, "task=render: processes that draw; 0: one a core", minimum=0)
    stack: str = key("vots2026/referral", "task=votsr_init: stack of the VOT toolkit")
    out: str = key("outputs/data_prep/${task}", "folder of the workspace")


register("data_prep", DataSettings)
