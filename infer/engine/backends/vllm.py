"""`engine=vllm`: vLLM runs the grounder in this process."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from configs.errors import UserError
from configs.schema import key
from infer.engine.backends.registry import BackendSettings, register_backend
from infer.engine.config import FreeGenerationConfig
from models.checkpoint_files import base_of, check_grounder_checkpoint
from models.config_checks import check_server_decoding, require_multimodal_llm
from models.file_checks import GROUNDER_KEY
from models.interfaces import Grounding
from models.serving.server import check_canary


@dataclass(frozen=True)
class VllmConfig(FreeGenerationConfig):
    """The package vLLM runs the grounder of model= in this process (`engine=vllm`)."""

    gpu_memory: float = key(
        0.6,
        "share of the GPU memory for weights and cache of vLLM; the mask head needs some of the rest",
        minimum=0.05,
        maximum=0.95,
    )
    tensor_parallel: int = key(1, "number of GPUs that the weights are split over", minimum=1)


def _check_vllm(settings: BackendSettings) -> None:
    """Raise UserError for settings that vLLM cannot run."""
    config = _config_of(settings)
    if find_spec("vllm") is None:
        raise UserError("engine=vllm: needs the package vllm; pip install -e '.[vllm]', or take engine=local")
    check_canary(config.canary)
    model = require_multimodal_llm(settings.model, "engine=vllm")
    check_server_decoding(model, "engine=vllm")
    check_grounder_checkpoint(model)
    if base_of(GROUNDER_KEY, model.checkpoint) is not None:
        raise UserError(
            f"engine=vllm: {model.checkpoint} is a folder of adapters; merge them first (python -m train "
            "task=merge), and name the merged folder"
        )
    if model.quantization != "none":
        raise UserError(
            f"model.quantization={model.quantization}: has no effect with engine=vllm, which reads quantized "
            "checkpoints; leave it out"
        )


@register_backend(check=_check_vllm, vllm=VllmConfig())
def open_vllm(settings: BackendSettings, device: Any) -> Grounding:
    """Load the weights of `model=` into vLLM, and ask the questions of the canary.

    Raises UserError where vLLM cannot load them, or answers the canary wrongly.
    """
    from models.serving.canary import ask_canary
    from models.serving.vllm_grounder import VllmGrounder

    config, model = _config_of(settings), require_multimodal_llm(settings.model, "engine=vllm")
    grounder = VllmGrounder(
        model,
        gpu_memory_utilization=config.gpu_memory,
        tensor_parallel_size=config.tensor_parallel,
    )
    ask_canary(config.canary, config.canary_tolerance, grounder.named, grounder, model, device)
    grounder.statistics.reset()
    return grounder


def _config_of(settings: BackendSettings) -> VllmConfig:
    assert isinstance(settings.engine, VllmConfig)
    return settings.engine
