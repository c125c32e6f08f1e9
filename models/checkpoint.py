"""Loading weights: errors of the library in one line, weights that are missing, and finite outputs."""

import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from configs.errors import UserError
from models.checkpoint_files import check_model_type
from models.devices import is_out_of_memory
from models.file_checks import code_setting

# Arguments of every `from_pretrained`: no code of a checkpoint is executed, no kernel that it names is
# downloaded from the hub, and no pickle is read.
SAFE: dict[str, Any] = {"trust_remote_code": False, "attn_implementation": "sdpa", "use_safetensors": True}


@contextmanager
def loading(key: str, checkpoint: str, base: str | None = None) -> Iterator[None]:
    """A context for the library's calls that load a checkpoint: their exceptions become a UserError of one
    line.

    `base` names the weights that are loaded where `checkpoint` is a folder of adapters. The tables and
    progress bars of the library are not printed.
    """
    # The library logs tables of missing keys; `check_weights` reports them in one line.
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    # A message of this project is one line already.
    except UserError:
        raise
    except Exception as fault:  # damaged files raise nearly any exception, such as KeyError or AttributeError
        raise not_loaded(key, checkpoint, base, fault) from fault
    finally:
        transformers_logging.set_verbosity(level)


def not_loaded(key: str, checkpoint: str, base: str | None, fault: Exception) -> UserError:
    """The message for weights that could neither be read nor downloaded."""
    if is_out_of_memory(fault):
        group = key.split(".")[0]
        return UserError(
            f"{key}={checkpoint}: memory does not suffice for the weights; take a smaller {group}=, "
            f"{group}.dtype=bfloat16 if it is float32, or a GPU with more free memory"
        )
    # For weights of another shape, transformers names this argument in its message.
    if "ignore_mismatched_sizes" in str(fault):
        return UserError(
            f"{key}={checkpoint}: the shapes of the weights do not agree with config.json; restore it"
        )
    reason = " ".join(str(fault).split())
    error = f"{type(fault).__name__}: {reason[:300]}" if reason else type(fault).__name__
    if base is not None:
        return UserError(
            f"{key}={checkpoint}: its base {base} cannot be loaded ({error}); without a network, download it "
            f"elsewhere and write its folder into the line base_model_name_or_path of "
            f"{checkpoint}/adapter_config.json"
        )
    remedy = "without a network, download them elsewhere and name the folder"
    if Path(checkpoint).exists():
        remedy = "restore the folder" if Path(checkpoint).is_dir() else "download the file again"
    return UserError(f"{key}={checkpoint}: the weights cannot be loaded ({error}); {remedy}")


def model_type_of(key: str, checkpoint: str, model_types: tuple[str, ...]) -> str:
    """The `model_type` of a checkpoint, from its config.json alone, before its weights are fetched.

    Raises UserError for another type than those wanted, and for settings that ask for code.
    """
    # Reads config.json alone, from the folder or the hub.
    settings, _ = PreTrainedConfig.get_config_dict(checkpoint)
    check_model_type(key, checkpoint, settings.get("model_type"), model_types)
    if setting := code_setting(settings):
        raise UserError(f"{key}={checkpoint}: its config.json asks for code by {setting}, which is never run")
    return str(settings["model_type"])


def check_weights(key: str, checkpoint: str, report: dict[str, set[str]]) -> None:
    """Raise UserError for missing weights, which transformers would initialise randomly; warn of unused ones.

    `report` is the loading info that `from_pretrained` returns with `output_loading_info`.
    """
    missing, unused = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    if missing:
        raise UserError(
            f"{key}={checkpoint}: {len(missing)} weights are missing, the first is {missing[0]}; "
            "take a complete checkpoint"
        )
    if unused:
        warnings.warn(
            f"{checkpoint}: {len(unused)} weights are not used, the first is {unused[0]}", stacklevel=3
        )


def check_tied(key: str, checkpoint: str, model: PreTrainedModel) -> None:
    """Raise UserError where output and input embeddings differ, though the settings say that they are tied.

    transformers uses the weights as they are, other programs follow the settings. It cannot be known which of
    them is right.
    """
    ends: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    first, last = (layer.weight for layer in ends)
    if model.config.tie_word_embeddings and first is not last and not torch.equal(first, last):
        raise UserError(
            f"{key}={checkpoint}: lm_head.weight differs from the embeddings, yet config.json says that they "
            "are one; set tie_word_embeddings to what the weights were trained with, or remove lm_head.weight"
        )


def check_vocabulary(key: str, checkpoint: str, num_tokens: int, num_rows: int) -> None:
    """Raise UserError where a tokenizer has more tokens than the model's embeddings have rows.

    More rows than tokens are usual: published sizes are rounded up.
    """
    if num_tokens > num_rows:
        raise UserError(
            f"{key}={checkpoint}: its tokenizer has {num_tokens} tokens, but the embeddings have {num_rows} "
            "rows only; take the tokenizer that belongs to these weights"
        )


class NotFiniteError(UserError):
    """A model returned NaN or infinity."""


def check_finite(key: str, checkpoint: str, dtype: torch.dtype, what: str, values: Iterable[float]) -> None:
    """Raise NotFiniteError, which names the checkpoint and its dtype, where a value is NaN or infinite.

    `values` are numbers of Python, so the check does not synchronise with a GPU. `what` says what they are.
    """
    # The normal case is one pass over a few numbers.
    if all(map(math.isfinite, values)):
        return
    group, name = key.split(".")[0], str(dtype).removeprefix("torch.")
    remedy = (
        f"float16 overflows at 65504: take {group}.dtype=bfloat16 or {group}.dtype=float32"
        if dtype == torch.float16
        else "its weights are damaged or contain NaN: restore them"
    )
    named = f"{key}={checkpoint}" if checkpoint else key  # weights in training have no checkpoint
    raise NotFiniteError(f"{named}: in {name} its {what} is not a finite number; {remedy}")
