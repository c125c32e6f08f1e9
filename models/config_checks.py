"""Checks of the settings of a grounder: against its contract, and for training. Imports no torch."""

from configs.errors import UserError
from data_prep.contract.checks import check_contract
from data_prep.contract.contract import Contract
from data_prep.contract.images import with_token_budget
from models.config import GROUNDERS, GrounderConfig, GroundingConfig


def require_multimodal_llm(config: GroundingConfig, purpose: str) -> GrounderConfig:
    """The settings, if they are those of a multimodal LLM.

    Raises UserError otherwise; `purpose` is the setting in the message that only multimodal LLMs can serve.
    """
    if isinstance(config, GrounderConfig):
        return config
    names = [name for name, settings in GROUNDERS.items() if type(settings) is type(config)]
    raise UserError(
        f"model={'|'.join(names)}: {purpose} is for multimodal LLMs only; take one of those, such as "
        "model=qwen2_5_vl_3b"
    )


def sized_contract(config: GrounderConfig, contract: Contract) -> Contract:
    """The contract of a checkpoint with the sizes of images that its settings name.

    Raises UserError for sizes that the contract does not allow.
    """
    sizes = (config.search_tokens, config.template_tokens)
    # A model that was trained on one grid of tokens finds nothing on another.
    if config.search_tokens is not None and all(contract.search_size):
        fixed = " or ".join(f"{width}x{height}" for width, height in contract.search_sizes)
        raise UserError(
            f"model.search_tokens={config.search_tokens}: {config.checkpoint} was trained on search images "
            f"of {fixed} pixels only; leave it out"
        )
    if config.template_tokens is not None and (all(contract.crop_size) or not contract.shows_template):
        why = "templates of one size" if contract.shows_template else "no template"
        raise UserError(
            f"model.template_tokens={config.template_tokens}: questions to {config.checkpoint} have {why}; "
            "leave it out"
        )
    sized = with_token_budget(contract, *sizes)
    try:
        check_contract(sized)
    except ValueError as fault:
        raise UserError(
            f"model.search_tokens={sizes[0]} model.template_tokens={sizes[1]}: {fault}; take fewer"
        ) from None
    return sized


def check_server_decoding(config: GrounderConfig, engine: str) -> None:
    """Raise UserError for a way of decoding boxes that a backend which generates freely does not have."""
    if config.decode not in ("auto", "greedy"):
        raise UserError(
            f"model.decode={config.decode}: {engine} generates answers greedily; leave it out, or take "
            "engine=local"
        )


# Keys of inference, and what training has in their place.
INFERENCE_KEYS = {
    "search_tokens": "recipe.contract.search_tokens",
    "template_tokens": "recipe.contract.template_tokens",
    "quantization": "recipe.tune.method=qlora",
    "device_map": "launch.strategy=fsdp or zero3",
    "decode": "greedy decoding",
    "second_look": "one look",
    "calibration": "no thresholds",
}


def check_inference_keys(config: GrounderConfig) -> None:
    """Raise UserError where a key of inference is set for training or merging.

    Both write contracts and weights, which must not depend on how the weights were loaded.
    """
    defaults = GrounderConfig(config.checkpoint)
    for name, instead in INFERENCE_KEYS.items():
        if (value := getattr(config, name)) != getattr(defaults, name):
            raise UserError(
                f"model.{name}={value}: has an effect in inference only; leave it out (training has "
                f"{instead})"
            )
