"""Loading weights: devices, dtypes, quantization, and the errors of the library in one line."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from configs.errors import UserError
from models.checkpoint_files import check_model_type, code_setting

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Given to every `from_pretrained`: no code of a checkpoint runs, and no attention of the hub that it names.
SAFE: dict[str, Any] = {"trust_remote_code": False, "attn_implementation": "sdpa", "use_safetensors": True}
NOT_QUANTIZED = ["model.visual", "lm_head"]  # vision tower and output layer keep their precision


def choose_device(name: str) -> torch.device:
    """`auto` is the first CUDA GPU where there is one, else the CPU; `mps` is an Apple GPU.

    Raises UserError for a device that torch does not know or that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device={name}: torch knows no such device; take auto, cpu, cuda or mps") from None
    there: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    if not there.get(device.type, lambda: True)():
        raise UserError(f"device={name}: this machine has no such GPU that torch can use; take device=auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device={name}: the last GPU is cuda:{torch.cuda.device_count() - 1}; take that")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of the weights: `auto` is bfloat16 on a CUDA GPU and float32 elsewhere."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise UserError(f"dtype={name}: choose one of auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def check_bitsandbytes() -> None:
    """Raise UserError where bitsandbytes, which quantizes weights, is not installed."""
    if find_spec("bitsandbytes") is None:
        raise UserError(
            "recipe.tune.method=qlora: needs bitsandbytes; pip install bitsandbytes, or take lora"
        )


def four_bit(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with quantized constants (QLoRA, arXiv 2305.14314), for training adapters; computes in `dtype`."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=NOT_QUANTIZED,
    )


@contextmanager
def loading(key: str, checkpoint: str, base: str | None = None) -> Iterator[None]:
    """Around the library's calls that load a checkpoint: whatever they raise becomes one line.

    `base` names the weights that are loaded where `checkpoint` is a folder of adapters. The library's own
    tables and progress bars are not shown. Raises UserError.
    """
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except UserError:
        raise
    except Exception as fault:  # spoilt files raise nearly everything: KeyError, AttributeError
        raise not_loaded(key, checkpoint, base, fault) from fault
    finally:
        transformers_logging.set_verbosity(level)


def not_loaded(key: str, checkpoint: str, base: str | None, fault: Exception) -> UserError:
    """The one line for weights that could neither be read nor fetched."""
    if "ignore_mismatched_sizes" in str(fault):
        return UserError(f"{key}={checkpoint}: the weights have other sizes than config.json; restore it")
    words = " ".join(str(fault).split())
    said = f"{type(fault).__name__}: {words[:300]}" if words else type(fault).__name__
    if base is not None:
        return UserError(
            f"{key}={checkpoint}: its base {base} cannot be loaded ({said}); without a network, download it "
            f"elsewhere and write its folder into the line base_model_name_or_path of "
            f"{checkpoint}/adapter_config.json"
        )
    remedy = "without a network, download them elsewhere and name the folder"
    if Path(checkpoint).is_dir():
        remedy = "restore the folder"
    return UserError(f"{key}={checkpoint}: the weights cannot be loaded ({said}); {remedy}")


def model_type_of(key: str, checkpoint: str, model_types: tuple[str, ...]) -> str:
    """The `model_type` of a checkpoint, from its config.json alone, before its weights are fetched.

    Raises UserError for another type than those wanted, and for settings that ask for code.
    """
    settings, _ = PreTrainedConfig.get_config_dict(checkpoint)
    check_model_type(key, checkpoint, settings.get("model_type"), model_types)
    if asked := code_setting(settings):
        raise UserError(f"{key}={checkpoint}: its config.json asks for code by {asked}, which is never run")
    return str(settings["model_type"])


def check_weights(key: str, checkpoint: str, report: dict[str, set[str]]) -> None:
    """Refuse lacking weights: transformers gives them random values and goes on.

    `report` is what `from_pretrained` says with `output_loading_info`. Warns of weights without a use.
    """
    missing, unused = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if missing:
        raise UserError(
            f"{key}={checkpoint}: {len(missing)} weights are missing, the first is {missing[0]}; "
            "take a checkpoint that was saved whole"
        )
    if unused:
        warnings.warn(f"{checkpoint}: {len(unused)} weights have no use, first {unused[0]}", stacklevel=3)


def check_tied(key: str, checkpoint: str, model: PreTrainedModel) -> None:
    """Refuse a model whose settings say that output and input embeddings are one, while they differ.

    The library takes the weights as they lie, others take the settings: nobody can know which were meant.
    """
    ends: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    first, last = (layer.weight for layer in ends)
    if model.config.tie_word_embeddings and first is not last and not torch.equal(first, last):
        raise UserError(
            f"{key}={checkpoint}: lm_head.weight differs from the embeddings, yet config.json says that they "
            "are one; set tie_word_embeddings to what the weights were trained with, or remove lm_head.weight"
        )


class NotFiniteError(UserError):
    """A model returned NaN or infinity."""


def check_finite(key: str, checkpoint: str, dtype: torch.dtype, what: str, values: Iterable[float]) -> None:
    """Raise NotFiniteError, which names the checkpoint and its number format, for NaN and infinity.

    `values` are on the host already, so that the check waits for no GPU; `what` says what they are.
    """
    if all(map(math.isfinite, values)):
        return
    group, name = key.split(".")[0], str(dtype).removeprefix("torch.")
    remedy = (
        f"float16 overflows at 65504: take {group}.dtype=bfloat16 or {group}.dtype=float32"
        if dtype == torch.float16
        else "its weights are spoilt, or hold NaN: restore them"
    )
    named = f"{key}={checkpoint}" if checkpoint else key  # weights in training have no name
    raise NotFiniteError(f"{named}: in {name} its {what} is no finite number; {remedy}")
