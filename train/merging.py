"""`task=merge`: add adapters to the weights of their base model; the result needs no base model."""

from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoConfig

from configs.errors import UserError
from configs.terminal import echo
from data_prep.files import real_path
from models.checkpoint_files import base_of
from models.config import GrounderConfig
from models.config_checks import check_inference_keys
from models.devices import free_memory, is_out_of_memory
from models.file_checks import CONFIG, weights_within
from models.grounder.grounder import KEY, Grounder
from train.sft.saving import read_training_record, save_weights


def merge(model: GrounderConfig, out: Path, device: torch.device) -> None:
    """Write merged weights to `out`, in the dtype of the base model unless `model.dtype` names one.

    Without `model.dtype`, the sums are computed in float32. If the memory of a GPU does not suffice, they are
    computed on the CPU. Raises UserError if the checkpoint holds no adapters or `out` is within it, and as
    `Grounder.load` does.
    """
    check_inference_keys(model)
    model = replace(model, allow_cpu=True)  # merging asks no questions, so a large model may be on a CPU
    source = Path(model.checkpoint)
    base = base_of(KEY, model.checkpoint)
    if base is None:
        if (within := weights_within(source)) is not None and not (source / CONFIG).is_file():
            raise UserError(f"{KEY}={source}: is the folder of a run; its weights are {KEY}={within}")
        raise UserError(f"{KEY}={model.checkpoint}: holds no adapters (no adapter_config.json) to merge")
    if real_path(out) == real_path(source) or real_path(source) in real_path(out).parents:
        raise UserError(f"out={out}: is in the folder of the adapters; take another out=")
    if (out / "config.json").is_file():
        raise UserError(f"out={out}: already holds weights; remove them or take another out=")
    kept = model.dtype == "auto"
    # In bfloat16 (8 significant bits) a weight would often not change when a small product is added.
    grounder = _load(replace(model, dtype="float32") if kept else model, device)
    if kept:
        held = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype
        torch.nn.Module.to(grounder.model, held or torch.float32)
    about = read_training_record(source) or {}
    written = out / "merged"
    save_weights(written, grounder.model, grounder, {**about, "merged": [base, model.checkpoint]})
    # The files are moved beside the record of the command. config.json comes last, since a folder without it
    # is no checkpoint: a killed command leaves none that looks complete.
    for path in sorted(written.iterdir(), key=lambda path: path.name == "config.json"):
        path.rename(out / path.name)
    written.rmdir()
    echo(f"merged weights in {out}: bash infer.sh model.checkpoint={out}")


def _load(model: GrounderConfig, device: torch.device) -> Grounder:
    """The grounder with its adapters merged, on the device, or on the CPU where the device is too small."""
    try:
        return Grounder.load(model, device)
    except (RuntimeError, UserError) as fault:  # torch.OutOfMemoryError is a RuntimeError
        if device.type == "cpu" or not is_out_of_memory(fault.__cause__ or fault):
            raise
    # After the handler, because the exception holds the frames of the load, and with them weights on the GPU.
    free_memory()
    echo(f"device={device}: too little free memory for the weights in {model.dtype}; merging on the CPU")
    return Grounder.load(model, torch.device("cpu"))
