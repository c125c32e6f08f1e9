"""Settings of the grounder and of `python -m models`; those of mask heads are in `models.mask_head.config`.

Imports nothing heavy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from configs.app import register
from configs.plugins import DOC as PLUGINS
from configs.schema import key
from data_prep.contract.contract import BUILT_IN
from models.base_config import DTYPE, DTYPES, SHIPPED
from models.families import PUBLISHED_SIZES
from models.grounder.registry import REGISTERED, register_grounder
from models.interfaces import Grounding
from models.mask_head.config import MASK_HEADS, MaskHeadConfig

__all__ = [
    "DEVICES",
    "DTYPES",
    "GROUNDERS",
    "NANO",
    "SHIPPED",
    "GrounderConfig",
    "GroundingConfig",
]

DEVICES = ("auto", "cpu", "cuda", "cuda:N")
QUANTIZATIONS = ("none", "4bit", "8bit")
DECODINGS = ("auto", "greedy", "expectation", "samples")
SECOND_LOOKS = ("auto", "off", "small", "always")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
DEVICE_MAPS = ("single", "auto")


@dataclass(frozen=True)
class GroundingConfig:
    """The grounder, which finds the target of an expression in a frame (`model=…`).

    These keys are common to all grounders. Each class of settings is registered with the function that loads
    its grounder (`models.grounder.registry`).
    """

    checkpoint: str = key(
        MISSING, "local folder of the weights, or a hub id such as Qwen/Qwen2.5-VL-7B-Instruct"
    )
    dtype: str = key("auto", DTYPE, choices=DTYPES)
    batch: int = key(
        8, "number of questions that are answered in one batch; it is halved where memory runs out", minimum=1
    )
    box_threshold: float = key(
        0.05, "answers whose visible probability is lower have no box; decoding is skipped for them"
    )
    calibration: str | None = key(
        None,
        "file of the thresholds that task=calibrate of python -m train has fitted; null: calibration.json in "
        "the checkpoint's folder, and without one neutral thresholds",
    )


@dataclass(frozen=True)
class GrounderConfig(GroundingConfig):
    """The multimodal LLM as the grounder."""

    contract: str = key(
        "auto",
        "how the checkpoint is asked: qwen, qwen3, qwen3_thinking (Qwen's models as published), "
        "vptracker, r1_track, r1_track_5k, r1_track_think, or instruct, instruct3, short (our own); "
        "auto: the checkpoint's own contract, or that of its special tokens or of its family",
        choices=("auto", *BUILT_IN),
    )
    search_tokens: int | None = key(
        None,
        "largest number of language tokens of a search frame; more show small targets larger, and take more "
        "time and memory; null: as the contract says",
        minimum=1,
    )
    template_tokens: int | None = key(
        None, "number of language tokens of a template crop; null: as the contract says", minimum=1
    )
    quantization: str = key(
        "none",
        "4bit or 8bit: the layers of the language model are quantized when they are loaded, which needs the "
        "package bitsandbytes; adapters are then kept beside the weights instead of merged",
        choices=QUANTIZATIONS,
    )
    decode: str = key(
        "auto",
        "how boxes are decoded; greedy: the most likely digits; expectation: the median of each coordinate, "
        "in as many forward passes; samples: the median of eight boxes, in as many passes over more rows; "
        "auto: expectation for contracts that pad numbers with zeros, where it is exact, else greedy",
        choices=DECODINGS,
    )
    second_look: str = key(
        "auto",
        "ask again about a window around the answer's box, which shows the target larger; small: if the box "
        "is smaller than 40 pixels of the search image; always: for every box; off: never; auto: small for "
        "contracts with fixed sizes of search images, as that of the small grounder, else off",
        choices=SECOND_LOOKS,
    )
    attention: str = key(
        "sdpa",
        "implementation of attention in transformers; flash_attention_2 needs the package flash-attn",
        choices=ATTENTIONS,
    )
    device_map: str = key(
        "single",
        "single: the model is on the one GPU of device=; auto: its layers are distributed over all GPUs, for "
        "models that do not fit into one",
        choices=DEVICE_MAPS,
    )
    allow_cpu: bool = key(False, "load a model of 6 billion parameters or more on a CPU, where it is slow")


@dataclass(frozen=True)
class Sam3DetectorConfig(GroundingConfig):
    """The detector of SAM 3 as the grounder (`model=sam3`). It needs no contract and no template."""

    # Other words than in the base class, because weights and boxes stay in float32.
    dtype: str = key(
        "auto",
        "dtype of the matrix products; weights and boxes are float32; auto: bfloat16 on a CUDA GPU (float16 "
        "where it has no bfloat16, as T4 and V100), else float32",
        choices=DTYPES,
    )
    min_score_ratio: float = key(
        0.8,
        "while the target is tracked: of the detections whose score is at least this share of the highest "
        "one, the one nearest to the last box is the answer; 1: always the one with the highest score",
        minimum=0.0,
        maximum=1.0,
    )


# ---- grounders ------------------------------------------------------------------------------------
# Modules that import torch are imported inside the functions.


class _GrounderOptions(Mapping[str, GroundingConfig]):
    """The registered grounders, and the published sizes of all registered families.

    A live view: families and grounders that are registered later appear in it.
    """

    def __getitem__(self, name: str) -> GroundingConfig:
        if name in REGISTERED:
            settings: GroundingConfig = REGISTERED[name]
            return settings
        return GrounderConfig(PUBLISHED_SIZES[name].checkpoint)

    def __iter__(self) -> Iterator[str]:
        yield from REGISTERED
        yield from PUBLISHED_SIZES

    def __len__(self) -> int:
        return len(REGISTERED) + len(PUBLISHED_SIZES)


GROUNDERS: Mapping[str, GroundingConfig] = _GrounderOptions()
"""Options of `model=`."""
NANO = GrounderConfig(str(SHIPPED / "nano_grounder"))
"""The shipped checkpoint, the default of `model=`."""


def _check_multimodal_llm(config: GrounderConfig) -> None:
    from models.checkpoint_files import check_grounder_checkpoint

    check_grounder_checkpoint(config)


@register_grounder(check=_check_multimodal_llm, nano=NANO)
def _load_multimodal_llm(config: GrounderConfig, device: Any) -> Grounding:
    from models.grounder.grounder import Grounder

    return Grounder.load(config, device)


def _check_sam3_detector(config: Sam3DetectorConfig) -> None:
    from models.grounder.sam3_checks import check_sam3_detector_checkpoint

    check_sam3_detector_checkpoint(config.checkpoint)


@register_grounder(check=_check_sam3_detector, sam3=Sam3DetectorConfig("facebook/sam3"))
def _load_sam3_detector(config: Sam3DetectorConfig, device: Any) -> Grounding:
    from models.grounder.sam3_detector import Sam3Detector

    return Sam3Detector.load(config, device)


# ---- python -m models -----------------------------------------------------------------------------

TASKS = ("doctor", "convert")


@dataclass(frozen=True)
class ModelsSettings:
    """The settings of `python -m models`."""

    task: str = key(
        "doctor",
        "doctor: examine model= and mask_head=, and say what is wrong with them; convert: a SAM 2 checkpoint "
        "of Meta (a .pt file) to a folder of transformers, or such a folder back to a .pt file",
        choices=TASKS,
    )
    checkpoint: str = key("", "task=convert: the .pt file or the folder to convert")
    model: GroundingConfig = key(NANO, "task=doctor: the grounder to examine")
    mask_head: MaskHeadConfig = key(MASK_HEADS["nano"], "task=doctor: the mask head to examine")
    device: str = key(
        "auto",
        "task=doctor: device of the models; auto: a CUDA GPU if there is one",
        choices=(*DEVICES, "mps"),
    )
    endpoint: str = key(
        "",
        "task=doctor: ask a server with OpenAI's chat API instead, as http://localhost:8000/v1; model= then "
        "gives the contract alone",
    )
    served_model: str = key("", "task=doctor with endpoint=: name of the model on the server")
    threads: int = key(
        1, "task=doctor: CPU threads of torch, as of python -m infer; 0: torch's default", minimum=0
    )
    plugins: list[str] = key([], PLUGINS)
    out: str = key("outputs/models/${task}", "folder of the result; task=convert: it may hold no weights yet")


register("models", ModelsSettings, {"model": GROUNDERS, "mask_head": MASK_HEADS})
