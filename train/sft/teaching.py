"""The grounder as it is to be trained: weights as the method holds them, new tokens, a changed contract."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from PIL import ImageColor

from configs.errors import UserError
from data_prep.prompts import Contract, check_contract, messages
from models.checkpoint import check_bitsandbytes, choose_dtype, four_bit
from models.checkpoint_files import base_of, check_grounder_checkpoint
from models.config import GrounderConfig
from models.grounder.grounder import KEY, Grounder
from models.grounder.tokens import add_tokens
from train.sft.config import PARTS, SftRecipe, TeachSettings


def load_taught(
    recipe: SftRecipe,
    model: GrounderConfig,
    device: torch.device,
    any_process: Callable[[torch.Tensor], bool] | None = None,
) -> tuple[Grounder, list[int]]:
    """The grounder that a recipe trains, and the ids of its new tokens.

    `any_process` is that of `Grounder`, for weights that are sharded over processes.
    Raises UserError as `check_model` and `Grounder.load` do, and for settings that do not go together.
    """
    check_model(recipe, model)
    quantization = four_bit(choose_dtype(model.dtype, device)) if recipe.tune.method == "qlora" else None
    loaded = Grounder.load(dataclasses.replace(model, box_floor=0.0), device, quantization)
    contract = changed(loaded.contract, recipe.teach)
    _check_tokens(recipe, contract)
    processor = loaded.encoder.processor
    tokens = add_tokens(loaded.model, processor, recipe.tune.tokens) if recipe.tune.tokens else []
    grounder = Grounder(
        loaded.model, processor, contract, loaded.batch, loaded.box_floor, any_process=any_process
    )
    return grounder, tokens


def check_model(recipe: SftRecipe, model: GrounderConfig) -> None:
    """Raise UserError, before anything is read, where a checkpoint is none that the recipe can train."""
    base = base_of(KEY, model.checkpoint)
    if base is not None and recipe.tune.method != "full":
        raise UserError(
            f"{KEY}={model.checkpoint}: holds adapters, and new ones need whole weights; first merge them: "
            f"python -m train task=merge {KEY}={model.checkpoint}"
        )
    if not recipe.tune.parts:
        raise UserError(f"recipe.tune.parts=[]: nothing would learn; name some of {', '.join(PARTS)}")
    check_grounder_checkpoint(model)
    if recipe.tune.method == "qlora":
        check_bitsandbytes()


def changed(contract: Contract, teach: TeachSettings) -> Contract:
    """A contract with what is taught anew. Raises UserError for a colour that is none, and beyond limits."""
    token = contract.side_multiple**2
    found: dict[str, Any] = {
        name: value for name, value in vars(teach).items() if value is not None and hasattr(contract, name)
    }
    if teach.search_tokens is not None:
        budget = teach.search_tokens * token
        found |= {"max_pixels": budget, "min_pixels": min(contract.min_pixels, budget), "search_size": (0, 0)}
    if teach.template_tokens is not None:
        found["template_pixels"] = teach.template_tokens * token
    if teach.prompt_colour is not None:
        found["prompt_colour"] = _colour(teach.prompt_colour)
    taught = dataclasses.replace(contract, **found)
    try:
        check_contract(taught)
    except ValueError as fault:
        raise UserError(f"recipe.teach: makes no contract ({fault})") from None
    return taught


def _colour(name: str) -> tuple[int, int, int]:
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise UserError(
            f"recipe.teach.prompt_colour={name}: is no colour; give a name or '#rrggbb'"
        ) from None


def _check_tokens(recipe: SftRecipe, contract: Contract) -> None:
    """Raise UserError where a new token stands in no question, or could not learn."""
    tokens, tune = recipe.tune.tokens, recipe.tune
    if tokens and tune.method == "full" and "language_model" not in tune.parts:
        raise UserError(
            "recipe.tune.tokens: their embeddings are the language model's; add language_model to "
            "recipe.tune.parts, or take method=lora"
        )
    (chat,) = messages(contract, "", has_template=True, is_marked=True)
    text = "".join(part.get("text", "") for part in chat["content"])
    if idle := [token for token in tokens if token not in text]:
        raise UserError(
            f"recipe.tune.tokens: {idle[0]} stands in no question of wording={contract.wording}; "
            "take recipe.teach.wording=tagged"
        )
