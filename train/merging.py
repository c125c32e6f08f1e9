"""`task=merge`: adapters added to the weights that they belong to, as a checkpoint that needs no base."""

from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoConfig

from configs.errors import UserError
from configs.terminal import echo
from data_prep.files import real_path
from models.checkpoint_files import CONFIG, base_of, weights_within
from models.config import GrounderConfig
from models.grounder.grounder import KEY, Grounder
from train.sft.saving import read_training_record, save_weights


def merge(model: GrounderConfig, out: Path, device: torch.device) -> None:
    """Write merged weights to `out`, in the base's number format unless `model.dtype` names one.

    Sums are made in float32 then. Raises UserError where the checkpoint holds no adapters, `out` is that
    checkpoint, or as `Grounder.load` does.
    """
    source = Path(model.checkpoint)
    base = base_of(KEY, model.checkpoint)
    if base is None:
        if (within := weights_within(source)) is not None and not (source / CONFIG).is_file():
            raise UserError(f"{KEY}={source}: is the folder of a run; its weights are {KEY}={within}")
        raise UserError(f"{KEY}={model.checkpoint}: holds no adapters (no adapter_config.json) to merge")
    if real_path(out) == real_path(source) or real_path(source) in real_path(out).parents:
        raise UserError(f"out={out}: lies in the adapters' own folder; take another out=")
    if (out / "config.json").is_file():
        raise UserError(f"out={out}: holds weights already; remove them or take another out=")
    kept = model.dtype == "auto"
    grounder = Grounder.load(replace(model, dtype="float32") if kept else model, device)
    if kept:
        held = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype
        torch.nn.Module.to(grounder.model, held or torch.float32)
    about = read_training_record(source) or {}
    whole = out / "merged"
    save_weights(whole, grounder.model, grounder, {**about, "merged": [base, model.checkpoint]})
    # Beside the command's own record; without config.json, which comes last, it is no checkpoint.
    for path in sorted(whole.iterdir(), key=lambda path: path.name == "config.json"):
        path.rename(out / path.name)
    whole.rmdir()
    echo(f"merged weights in {out}: bash infer.sh model.checkpoint={out}")
