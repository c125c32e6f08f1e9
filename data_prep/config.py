"""Settings of data preparation. Imports nothing heavy."""

from dataclasses import dataclass

from configs.app import register
from configs.schema import key

TASKS = ("render", "votsr_init")


@dataclass(frozen=True)
class DataSettings:
    """Everything a run of `python -m data_prep` is told."""

    task: str = key(
        "render", "render: a workspace of the rendered world; votsr_init: the challenge's own", choices=TASKS
    )
    preset: str = key("demo", "task=render: preset of the rendered world", choices=("train", "val", "demo"))
    sequences: int = key(6, "task=render: how many videos", minimum=1)
    prompts: int = key(3, "task=render: texts for each target", minimum=1, maximum=3)
    frames: int = key(0, "task=render: frames a video; 0: the preset's own", minimum=0)
    workers: int = key(2, "task=render: processes that draw", minimum=1)
    stack: str = key("vots2026/referral", "task=votsr_init: stack of the VOT toolkit")
    out: str = key("outputs/data_prep/${task}", "folder of the workspace")


register("data_prep", DataSettings)
