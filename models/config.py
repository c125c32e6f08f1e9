"""Settings of the grounder and of the mask head. Imports nothing heavy."""

from dataclasses import dataclass

from configs.schema import key


@dataclass(frozen=True)
class GrounderConfig:
    """The multimodal LLM that finds the target (`model=…`)."""

    checkpoint: str = key("???", "local folder of the weights, or a hub id such as Qwen/Qwen2.5-VL-7B-Instruct")
    contract: str = key("", "prompt contract of a checkpoint that carries none: qwen or short; empty: its own")
    dtype: str = key("auto", "float32, bfloat16 or float16; auto: bfloat16 on a GPU, float32 on a CPU")
    batch: int = key(8, "most questions answered in one batch; lower it when memory runs out")


@dataclass(frozen=True)
class MaskHeadConfig:
    """The SAM 2 that turns boxes into masks and carries them (`mask_head=…`)."""

    checkpoint: str = key("???", "local folder of the weights, or a hub id such as facebook/sam2.1-hiera-large")
    dtype: str = key("auto", "float32, bfloat16 or float16; auto: bfloat16 on a GPU, float32 on a CPU")
