"""Loading a grounder's model: dtype, attention, quantization, and the devices that weights are read to.

Weights are read straight to their devices: each one is copied there and released before the next one. What
the installed packages or the machine cannot do is refused before any weight is read.
"""

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled

from configs.errors import UserError
from data_prep.contract.contract import Contract
from models.checkpoint import SAFE, check_tied, check_vocabulary, check_weights, loading, model_type_of
from models.checkpoint_files import (
    GROUNDER_KEY,
    base_of,
    check_grounder_checkpoint,
    find_contract,
    key_of,
    processor_folder,
)
from models.config import GrounderConfig
from models.config_checks import sized_contract
from models.devices import check_size_on_cpu, choose_dtype
from models.families import FAMILIES, Family
from models.grounder.adapters import attached, merged
from models.grounder.chat_template import check_chat_template, opens_thought
from models.grounder.model import QwenVL, QwenVLProcessor, apply_fast_kernels, widen

KEY = GROUNDER_KEY

NOT_QUANTIZED = ["model.visual", "lm_head"]  # the vision tower and the output layer keep their precision
# Of the free memory of each GPU, for weights. The rest is for activations, the cache and the mask head.
SHARE_FOR_WEIGHTS = 0.85


def load_model(
    config: GrounderConfig, device: torch.device, quantization: BitsAndBytesConfig | None = None
) -> tuple[QwenVL, QwenVLProcessor, Contract]:
    """The model in evaluation mode, with fast kernels unless it is split, its processor, and its contract.

    Adapters are merged into their base weights. They stay beside weights that are quantized. `quantization`
    is that of training, in place of `model.quantization`.

    Raises UserError where the checkpoint is missing, incomplete, or of another type of model, where no
    contract is known or its chat template does not fit, and where this machine cannot load it as the settings
    say.
    """
    # 1. Check the files, before any weight is read.
    check_grounder_checkpoint(config)
    base = base_of(KEY, config.checkpoint)
    weights, key = base or config.checkpoint, key_of(config.checkpoint, base)
    options = _options(config, device, quantization)
    # 2. Load the processor, and check that the contract and the chat template fit. Weights can take minutes,
    #    so they come last.
    family, processor, contract = load_processor(config)
    # 3. Load the weights with the class of their family.
    with loading(KEY, config.checkpoint, base):
        model_class = family.model_class()
        # With ZeRO-3 there is no `device_map`: every process has a share of the weights.
        if "device_map" in options and device.type == "cpu" and not config.allow_cpu:
            num_parameters = _count_parameters(model_class, weights)
            check_size_on_cpu(KEY, config.checkpoint, num_parameters, options["dtype"])
        loaded: Any = model_class.from_pretrained(weights, output_loading_info=True, **{**SAFE, **options})
    # 4. Add adapters. Tokens that were added in training need rows in the embeddings first, or the adapters
    #    would not fit.
    with loading(KEY, config.checkpoint):
        model, report = loaded
        check_weights(key, weights, report)
        _check_placement(config.checkpoint, model)
        check_tied(key, weights, model)
        if base is None:
            # Under ZeRO-3 the weight of this process has no rows.
            embeddings: Any = model.get_input_embeddings()
            check_vocabulary(key, weights, len(processor.tokenizer), embeddings.num_embeddings)
        else:
            widen(model, processor)
            if "quantization_config" in options:
                model = attached(model, config.checkpoint).get_base_model()
            else:
                model = merged(model, config.checkpoint)
    # 5. Prepare it for inference. With a `device_map` the weights were read to the device.
    if "device_map" not in options:
        model.to(device)
    model.eval()
    # In a model that is split, accelerate's hooks hold the modules' own forward methods.
    if not is_split(model):
        apply_fast_kernels(model)
    return model, processor, contract


def load_processor(config: GrounderConfig) -> tuple[Family, QwenVLProcessor, Contract]:
    """The family of a checkpoint, its processor and its contract. No weights are needed.

    The folder must have the files config.json, tokenizer.json, tokenizer_config.json, those of the image
    processor and of the chat template, and contract.json if there is one. Raises UserError where one is
    missing or damaged, and where the contract does not fit.
    """
    base = base_of(KEY, config.checkpoint)
    weights, key = base or config.checkpoint, key_of(config.checkpoint, base)
    with loading(KEY, config.checkpoint, base):
        family = FAMILIES[model_type_of(key, weights, tuple(FAMILIES))]
    with loading(KEY, config.checkpoint):
        source = processor_folder(config.checkpoint, base)
        processor = family.processor_class().from_pretrained(source, trust_remote_code=False)
    contract = sized_contract(config, find_contract(config, opens_thought(processor)))
    check_chat_template(KEY, source, processor, contract)
    return family, processor, contract


def quantization_of(model: PreTrainedModel) -> str | None:
    """`4bit`, `8bit`, or None for weights that are not quantized by bitsandbytes."""
    names = ("4bit", "8bit")
    return next((name for name in names if getattr(model, f"is_loaded_in_{name}", False)), None)


def is_split(model: PreTrainedModel) -> bool:
    """Whether the layers of a model are on several devices."""
    return len(set(getattr(model, "hf_device_map", {}).values())) > 1


def _options(
    config: GrounderConfig, device: torch.device, quantization: BitsAndBytesConfig | None
) -> dict[str, Any]:
    """The arguments of `from_pretrained` that follow from the settings. Raises UserError."""
    dtype = choose_dtype(config.dtype, device)
    _check_attention(config.attention, device, dtype)
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": config.attention}
    if quantization is None and config.quantization != "none":
        quantization = _quantization(config.quantization, device, dtype)
    if quantization is not None:
        options["quantization_config"] = quantization
    # With ZeRO-3 transformers shards every weight as it is read, and refuses a map of devices.
    if not is_deepspeed_zero3_enabled():
        options |= _device_map(config.device_map, device)
    return options


def _count_parameters(model_class: Any, checkpoint: str) -> int:
    """The number of parameters of a checkpoint, from its config.json alone."""
    # config.json may name an implementation of attention that is not installed, which has no parameters.
    settings = model_class.config_class.from_pretrained(checkpoint, attn_implementation="eager")
    # On the meta device tensors have shapes but no storage.
    with torch.device("meta"):
        model: PreTrainedModel = model_class(settings)
    return model.num_parameters()


# ---- attention --------------------------------------------------------------------------------------


def _check_attention(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Raise UserError for an implementation of attention that cannot be used."""
    if name != "flash_attention_2":
        return
    # Without the package transformers would look for a kernel on the hub.
    if find_spec("flash_attn") is None:
        raise UserError(f"model.attention={name}: needs flash-attn; pip install flash-attn, or take sdpa")
    if device.type != "cuda" or dtype == torch.float32:
        raise UserError(
            f"model.attention={name}: needs a CUDA GPU, and bfloat16 or float16; take model.attention=sdpa"
        )


# ---- quantization -----------------------------------------------------------------------------------


def check_bitsandbytes(setting: str, instead: str) -> None:
    """Raise UserError where bitsandbytes, which quantizes weights, is not installed.

    `setting` is the key with the value that needs it, and `instead` the value that does not.
    """
    if find_spec("bitsandbytes") is None:
        raise UserError(f"{setting}: needs bitsandbytes; pip install bitsandbytes, or take {instead}")


def four_bit(dtype: torch.dtype) -> BitsAndBytesConfig:
    """The settings of 4-bit weights: NF4 with double quantization, as in QLoRA (arXiv 2305.14314).

    Computation is in `dtype`.
    """
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=NOT_QUANTIZED,
    )


def _quantization(name: str, device: torch.device, dtype: torch.dtype) -> BitsAndBytesConfig:
    """The settings of `model.quantization`. Raises UserError where bitsandbytes cannot be used."""
    setting = f"model.quantization={name}"
    check_bitsandbytes(setting, "none")
    try:
        supported = getattr(import_module("bitsandbytes"), "supported_torch_devices", {"cuda"})
    # Its libraries for CUDA are loaded when it is imported, which fails in several ways.
    except (ImportError, OSError, RuntimeError) as fault:
        reason = " ".join(str(fault).split())[:200]
        raise UserError(f"{setting}: bitsandbytes cannot be imported ({reason}); reinstall it") from None
    if device.type not in supported:
        raise UserError(
            f"{setting}: the installed bitsandbytes does not support device={device.type}; update it, or "
            "take model.quantization=none"
        )
    if name == "4bit":
        return four_bit(dtype)
    # LLM.int8() (arXiv 2208.07339) multiplies in float16 whatever the dtype is, and logs that in every layer.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=NOT_QUANTIZED)


# ---- placement --------------------------------------------------------------------------------------


def _device_map(name: str, device: torch.device) -> dict[str, Any]:
    """The arguments that say to which device each weight is read.

    `auto` distributes whole layers evenly over the GPUs (by accelerate). With a single device it has no
    effect.
    """
    if name == "single" or device.type != "cuda" or torch.cuda.device_count() < 2:
        return {"device_map": {"": device}}
    index: int | None = device.index
    if index is not None:
        raise UserError(f"device={device}: names one GPU, and model.device_map=auto uses all; leave one out")
    # The CPU is not in this list, so layers that do not fit go to the disk. `_check_placement` refuses that.
    free = {gpu: torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count())}
    return {
        "device_map": "auto",
        "max_memory": {gpu: int(amount * SHARE_FOR_WEIGHTS) for gpu, amount in free.items()},
    }


def _check_placement(checkpoint: str, model: PreTrainedModel) -> None:
    """Raise UserError where the GPUs together were too small, and layers are left on the disk.

    They would be read again for every token.
    """
    if "disk" in getattr(model, "hf_device_map", {}).values():
        needed = model.num_parameters() * model.dtype.itemsize / 2**30
        raise UserError(
            f"{KEY}={checkpoint}: {needed:.0f} GiB of weights do not fit into the free memory of "
            f"{torch.cuda.device_count()} GPUs; take model.quantization=4bit, a smaller model=, or more GPUs"
        )
