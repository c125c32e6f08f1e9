"""Writing a checkpoint of a grounder, so that older versions of transformers read it too.

transformers 5 writes folders that 4.57 does not read, and builds of vLLM and forks of trainers still pin
4.57. So what the older version looks for is written beside the new fields:

- config.json: `rope_theta` and `rope_scaling` (without them M-RoPE would be lost), and `torch_dtype`;
- tokenizer_config.json: `additional_special_tokens` in place of the list `extra_special_tokens`, which 4.57
  reads as a dict, and a class of the tokenizer that 4.57 has;
- preprocessor_config.json and video_preprocessor_config.json, which are parts of processor_config.json now;
- vocab.json and merges.txt, for programs that have their own tokenizer.

transformers 5 reads these forms as well.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from data_prep.contract.contract import Contract, write_contract
from data_prep.files import write_whole
from models.file_checks import CONFIG
from models.grounder.model import QwenVL, QwenVLProcessor

PROCESSOR = "processor_config.json"
PEFT_PREFIX = "base_model.model."  # peft's wrapper adds it to the names of the parameters
# Files of transformers < 5 and the parts of processor_config.json that have the same content.
PROCESSOR_PARTS = {
    "preprocessor_config.json": "image_processor",
    "video_preprocessor_config.json": "video_processor",
}
# Classes that transformers < 5 does not have, and what they are called there.
TOKENIZER_CLASSES = {"TokenizersBackend": "PreTrainedTokenizerFast"}


def save_checkpoint(
    folder: Path,
    model: PeftModel | QwenVL,
    processor: QwenVLProcessor,
    contract: Contract,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a complete model, or adapters only for a PeftModel, with processor and contract, to a folder.

    `weights` are the unsharded weights to write, by their names in the grounder's model; None: those in the
    model. The caller sees to it that the folder is written completely or not at all
    (`data_prep.folders.whole_folder`).
    """
    options: dict[str, Any] = {}
    if weights is not None:
        prefix = PEFT_PREFIX if isinstance(model, PeftModel) else ""
        options["state_dict"] = {f"{prefix}{name}": weight for name, weight in weights.items()}
    if isinstance(model, PeftModel):
        # The embeddings of new tokens are among the adapters. Without this, peft compares the size of the
        # vocabulary with that of the base model on the hub.
        options["save_embedding_layers"] = False
    # 1. The weights, and the dtype in which they are written.
    model.save_pretrained(str(folder), **options)
    if weights is not None and not isinstance(model, PeftModel):
        model.config.dtype = next(iter(weights.values())).dtype  # not float32, in which they were trained
        model.config.save_pretrained(folder)
    # 2. The processor, and the contract.
    processor.save_pretrained(folder)
    write_contract(folder, contract)
    _limit_image_sizes(folder, contract)
    # 3. What older versions read.
    _add_older_files(folder, processor)


def _limit_image_sizes(folder: Path, contract: Contract) -> None:
    """Write the largest image of a contract into processor_config.json, for servers, which read no contract.

    Inference here resizes images itself and does not read these limits. They cannot express a fixed size of
    search images or of crops, so a contract that has one changes nothing.
    """
    if all(contract.search_size) or all(contract.crop_size):
        return
    # A processor has one range of pixels for both images. Images that were resized by the contract must pass
    # unchanged, so the range holds both budgets. It begins at one token and not at `min_pixels`, because an
    # image is smaller than that where no multiples of the token's side lie within the budget (`budgeted`).
    size = {
        "shortest_edge": contract.side_multiple**2,
        "longest_edge": max(contract.max_pixels, contract.template_pixels),
    }
    _rewrite(
        folder / PROCESSOR,
        lambda settings: {**settings, "image_processor": {**settings["image_processor"], "size": size}},
    )


def _add_older_files(folder: Path, processor: QwenVLProcessor) -> None:
    """Add to a folder that transformers 5 has written what earlier versions look for."""
    if (folder / CONFIG).is_file():  # adapters have none
        _rewrite(folder / CONFIG, _with_older_fields)
    _rewrite(folder / "tokenizer_config.json", _with_older_tokens)
    settings = json.loads((folder / PROCESSOR).read_text("utf-8"))
    for file, part in PROCESSOR_PARTS.items():
        if part in settings:
            _write(folder / file, settings[part] | {"processor_class": settings["processor_class"]})
    tokenizer: Any = processor.tokenizer
    tokenizer.backend_tokenizer.model.save(str(folder))  # vocab.json and merges.txt


def _with_older_fields(config: dict[str, Any]) -> dict[str, Any]:
    """A config.json with the older fields, at the top and in the part of the language model."""
    config = dict(config)
    if "dtype" in config:
        config["torch_dtype"] = config["dtype"]
    if "text_config" in config:
        config["text_config"] = _with_older_fields(config["text_config"])
    rope = config.get("rope_parameters")
    if rope:
        # The base is a field of its own there. `type` is the name of `rope_type` before transformers 4.43.
        config["rope_theta"] = rope["rope_theta"]
        scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
        config["rope_scaling"] = {**scaling, "type": scaling["rope_type"]}
    return config


def _with_older_tokens(config: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer_config.json with the older names."""
    config = dict(config)
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    name = config.get("tokenizer_class")
    config["tokenizer_class"] = TOKENIZER_CLASSES.get(str(name), name)
    return config


def _rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    _write(path, change(json.loads(path.read_text("utf-8"))))


def _write(path: Path, settings: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
