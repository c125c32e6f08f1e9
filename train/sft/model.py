"""The model in training: loading it, choosing its trainable parameters, and its loss on a micro-batch."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import ImageColor
from torch import nn

from configs.errors import UserError
from data_prep.contract.chat import messages
from data_prep.contract.checks import check_contract
from data_prep.contract.contract import Contract, check_trainable, read_contract, trained_contract
from data_prep.contract.images import with_token_budget
from models.checkpoint_files import base_of, check_grounder_checkpoint
from models.config import GrounderConfig
from models.config_checks import check_inference_keys
from models.devices import choose_training_dtype
from models.families import family_of, lora_targets, part_of
from models.grounder.forward import encode_images, forward, forward_packed
from models.grounder.grounder import KEY, Grounder
from models.grounder.loading import check_bitsandbytes, four_bit
from models.grounder.model import QwenVL, add_tokens
from models.grounder.questions import Encoded
from train.pairs import IGNORED
from train.sft.batches import MicroBatch
from train.sft.config import PARTS, ContractSettings, SftRecipe, TuneSettings
from train.soft_labels import soft_loss

# ---- loading -----------------------------------------------------------------------------------


def load_for_training(
    recipe: SftRecipe,
    model: GrounderConfig,
    device: torch.device,
    any_process: Callable[[torch.Tensor], bool] | None = None,
) -> tuple[Grounder, list[int]]:
    """The grounder that a recipe trains, with new tokens and the contract of the recipe; the tokens' ids.

    `any_process` is that of `Grounder`, for parameters that are sharded over processes.
    Raises UserError as `check_model` and `Grounder.load` do, and for settings that exclude each other.
    """
    check_model(recipe, model)
    # 1. Every box is decoded in evaluations (`box_threshold=0`), also if the target is called absent.
    dtype = choose_training_dtype(model.dtype, device)
    quantization = four_bit(dtype) if recipe.tune.method == "qlora" else None
    loaded = Grounder.load(dataclasses.replace(model, box_threshold=0.0), device, quantization)
    contract = loaded.contract
    # Published weights are asked as they were trained, but new adapters learn this project's own wording.
    if model.contract == "auto" and read_contract(Path(model.checkpoint)) is None:
        contract = trained_contract(contract)
    check_trainable(contract, "model.contract")
    contract = updated_contract(contract, recipe.contract)
    _check_tokens(recipe, contract)
    processor = loaded.encoder.processor
    # 2. New tokens enlarge the embeddings, so they come before adapters and the optimizer.
    tokens = add_tokens(loaded.model, processor, recipe.tune.tokens) if recipe.tune.tokens else []
    grounder = Grounder(
        loaded.model,
        processor,
        contract,
        loaded.batch,
        loaded.box_threshold,
        any_process=any_process,
        in_training=True,
    )
    return grounder, tokens


def check_model(recipe: SftRecipe, model: GrounderConfig) -> None:
    """Raise UserError, before any weight is read, for a checkpoint that the recipe cannot train."""
    base = base_of(KEY, model.checkpoint)
    if base is not None and recipe.tune.method != "full":
        raise UserError(
            f"{KEY}={model.checkpoint}: holds adapters, and new adapters need a complete model; merge them "
            f"first: python -m train task=merge {KEY}={model.checkpoint}"
        )
    if not recipe.tune.parts:
        raise UserError(
            f"recipe.tune.parts=[]: there would be no trainable parameters; name some of {', '.join(PARTS)}"
        )
    check_inference_keys(model)
    if model.attention != "sdpa" and recipe.packing:
        raise UserError(
            f"model.attention={model.attention}: recipe.packing=true has its own attention; leave one out"
        )
    check_grounder_checkpoint(model)
    if recipe.tune.method == "qlora":
        check_bitsandbytes("recipe.tune.method=qlora", "lora")


def updated_contract(contract: Contract, settings: ContractSettings) -> Contract:
    """A contract with the changes of `recipe.contract`.

    Raises UserError for an unknown colour, and if the result is no valid contract.
    """
    # 1. Settings with the name of a field of the contract replace it.
    changes: dict[str, Any] = {
        name: value for name, value in vars(settings).items() if value is not None and hasattr(contract, name)
    }
    # 2. The others are converted: the name of a colour to RGB, numbers of tokens to pixels.
    if settings.prompt_colour is not None:
        changes["prompt_colour"] = _colour(settings.prompt_colour)
    updated = dataclasses.replace(contract, **changes)
    updated = with_token_budget(updated, settings.search_tokens, settings.template_tokens)
    try:
        check_contract(updated)
    except ValueError as fault:
        raise UserError(f"recipe.contract: gives an invalid contract ({fault})") from None
    return updated


def _colour(name: str) -> tuple[int, int, int]:
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise UserError(
            f"recipe.contract.prompt_colour={name}: is no colour; give a name or '#rrggbb'"
        ) from None


def _check_tokens(recipe: SftRecipe, contract: Contract) -> None:
    """Raise UserError if a new token is in no question, or its embedding would not be trained."""
    tokens, tune = recipe.tune.tokens, recipe.tune
    if tokens and tune.method == "full" and "language_model" not in tune.parts:
        raise UserError(
            "recipe.tune.tokens: their embeddings belong to the language model; add language_model to "
            "recipe.tune.parts, or take method=lora"
        )
    (chat,) = messages(contract, "", has_template=True, is_marked=True)
    text = "".join(part.get("text", "") for part in chat["content"])
    if unused := [token for token in tokens if token not in text]:
        raise UserError(
            f"recipe.tune.tokens: {unused[0]} is in no question of wording={contract.wording}; "
            "take recipe.contract.wording=tagged"
        )


# ---- trainable parameters ----------------------------------------------------------------------


def set_trainable(
    model: QwenVL, tune: TuneSettings, seed: int, tokens: Sequence[int] = ()
) -> PeftModel | None:
    """Freeze all parameters but the trainable ones, in place; the PEFT wrapper, None without adapters.

    With adapters, the embeddings of `tokens` are trainable too.
    """
    family = family_of(model)
    if tune.method == "full":
        for name, weight in model.named_parameters():
            weight.requires_grad_(part_of(family, name) in tune.parts)
        return None
    # The A matrices of LoRA start with random values.
    torch.manual_seed(seed)
    config = LoraConfig(
        r=tune.rank,
        lora_alpha=tune.alpha,
        lora_dropout=tune.dropout,
        target_modules=lora_targets(family, tune.parts),
        trainable_token_indices=list(tokens) or None,
    )
    return get_peft_model(model, config)


def trains_vision(tune: TuneSettings) -> bool:
    """Whether gradients must reach the vision tower or the projector."""
    return "vision_tower" in tune.parts or "projector" in tune.parts


# ---- loss --------------------------------------------------------------------------------------


class GrounderForTraining(nn.Module):
    """A grounder's model, with adapters in place if it has any, that returns the loss of a micro-batch.

    The whole computation is in `forward`, since DDP, DeepSpeed and FSDP install their hooks there.
    """

    def __init__(self, model: QwenVL, packed: bool, trains_vision: bool, is_sharded: bool = False) -> None:
        """`trains_vision=False` runs the vision tower without gradients, which saves its activations.

        `is_sharded`: every process must call each submodule equally often, also for a batch without images.
        """
        super().__init__()
        self.model, self.packed = model, packed
        self.trains_vision, self.is_sharded = trains_vision, is_sharded

    def forward(self, batch: MicroBatch | Callable[[], Any]) -> Any:
        """The loss of a micro-batch, summed over its answer tokens, float32; 0 if there are none.

        A function in place of a batch is called and its result returned (`Strategy.run_inference`).
        """
        if not isinstance(batch, MicroBatch):
            return batch()
        logits, targets = self._predictions(batch.encoded, batch.labels)
        # A sum and not a mean: the caller divides by the answer tokens of all micro-batches and processes.
        if batch.soft is not None:
            return soft_loss(logits, targets, batch.soft.of_answers(batch.labels), batch.soft.tokens)
        return F.cross_entropy(logits.float(), targets, reduction="sum")

    def layers(self) -> list[nn.Module]:
        """The blocks of the vision tower and the layers of the language model."""
        inner = self.model.model
        return [*inner.visual.blocks, *inner.language_model.layers]

    def _predictions(self, encoded: Encoded, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (answer tokens, vocabulary) and the target of each (answer tokens,).

        `labels` (batch, length) are IGNORED outside of the answers. Logits are computed for answer tokens
        only: an answer is about thirty of a thousand tokens, and the vocabulary is wide.
        """
        inputs = encoded.inputs
        # 1. Image features.
        with torch.set_grad_enabled(self.trains_vision and torch.is_grad_enabled()):
            features = encode_images(
                self.model, inputs["pixel_values"], inputs["image_grid_thw"], self.is_sharded
            )
        # 2a. All samples in one row without padding. The logits at position i predict token i + 1.
        if self.packed:
            # (batch, length) -> (tokens of all samples,)
            row = labels[inputs["attention_mask"].bool()]
            positions = (row[1:] != IGNORED).nonzero()[:, 0]
            packed: Any = forward_packed(self.model, encoded, features, logits_to_keep=positions)
            return packed.logits[0], row[positions + 1]
        # 2b. A row for each sample, padded on the left, so all answers are within the last columns.
        columns = int((labels != IGNORED).sum(1).max())
        output: Any = forward(self.model, encoded, features, use_cache=False, logits_to_keep=columns + 1)
        targets = labels[:, labels.shape[1] - columns :]
        is_answer = targets != IGNORED
        return output.logits[:, :-1][is_answer], targets[is_answer]
