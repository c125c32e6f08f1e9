"""The small grounder: the real Qwen2.5-VL classes at about two million parameters, made without a download.

`rope_theta` is 5 and not a million as usual: with heads this narrow, a large theta makes the rotary embedding
change so little from one image token to the next that the model cannot tell their positions apart. Pixels are
scaled to ±1.
"""

from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers import models as tokenizer_models
from tokenizers import trainers as tokenizer_trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from data_prep.contract.contract import BUILT_IN
from data_prep.contract.wordings import TEMPLATE_IMAGE, WORDINGS
from data_prep.world.expressions import corpus

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Each digit is a token of its own, as in Qwen's tokenizer; a word includes its leading space.
SPLIT = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}"
    "{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}<|im_end|>{% endif %}"
)


def build_tokenizer(vocabulary: int = 1024) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer for any text, in which the words of the rendered world are
    one token each.
    """
    tokenizer = Tokenizer(tokenizer_models.BPE())
    # First split into words, single digits and punctuation, then bytes: a token never crosses these borders.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(SPLIT, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = tokenizer_trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        padding_side="left",
    )


def _corpus() -> list[str]:
    """The texts that the tokenizer is trained on: all phrases of the rendered world, and
    those of the contract.
    """
    phrases = corpus()
    short = WORDINGS["short"]
    template = short.template.removesuffix(TEMPLATE_IMAGE)
    fixed = ["find a", template, short.visual_prompt, short.no_visual_prompt]
    answer_format = BUILT_IN["short"].format
    answers = [answer_format.start + answer_format.render(numbers) for numbers in ("0", None)]
    # A leading space is part of a token, so each phrase follows "find ", as it does in a prompt.
    return [f"find {phrase}" for phrase in phrases] + (fixed + answers) * len(phrases)


def build_processor(tokenizer: PreTrainedTokenizerFast | None = None) -> Qwen2_5_VLProcessor:
    """The processor of the small grounder: tokenizer and image processor, as
    `AutoProcessor` can load them.
    """
    image_processor = Qwen2VLImageProcessor(
        image_mean=[0.5] * 3, image_std=[0.5] * 3, patch_size=14, merge_size=2, temporal_patch_size=2
    )
    return Qwen2_5_VLProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer or build_tokenizer(),
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )


def small_settings(
    processor: Any,
    width: int,
    layers: int,
    vision_layers: int,
    rope: Mapping[str, Any],
    text: Mapping[str, Any] | None = None,
    vision: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The settings of a small Qwen-VL of any family: heads of 32 channels, and the processor's vocabulary.

    `rope`, `text` and `vision` are added to the settings of the rotary embeddings, of the language model and
    of the vision tower.
    """
    tokens = processor.tokenizer.convert_tokens_to_ids
    heads = width // 32
    return {
        "text_config": {
            "vocab_size": len(processor.tokenizer),
            "hidden_size": width,
            "intermediate_size": width * 3,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": max(1, heads // 2),
            "max_position_embeddings": 4096,
            "initializer_range": 0.06,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5.0, **rope},
            "bos_token_id": tokens("<|endoftext|>"),
            "eos_token_id": tokens("<|im_end|>"),
            "pad_token_id": tokens("<|endoftext|>"),
            "tie_word_embeddings": True,
            **(text or {}),
        },
        "vision_config": {
            "depth": vision_layers,
            "hidden_size": width,
            "intermediate_size": width * 2,
            "num_heads": heads,
            "out_hidden_size": width,
            "initializer_range": 0.06,
            **(vision or {}),
        },
        "image_token_id": tokens("<|image_pad|>"),
        "video_token_id": tokens("<|video_pad|>"),
        "vision_start_token_id": tokens("<|vision_start|>"),
        "vision_end_token_id": tokens("<|vision_end|>"),
        "tie_word_embeddings": True,
    }


def build_grounder(
    processor: Qwen2_5_VLProcessor, width: int = 128, layers: int = 5, vision_layers: int = 4, seed: int = 0
) -> Qwen2_5_VLForConditionalGeneration:
    """A small Qwen2.5-VL with random weights and the vocabulary of the processor; `width`
    is a multiple of 32.
    """
    torch.manual_seed(seed)
    config = Qwen2_5_VLConfig(
        **small_settings(
            processor,
            *(width, layers, vision_layers),
            # Of a head's 16 pairs of channels, 6 are turned by time, 5 by height and 5 by width.
            rope={"mrope_section": [6, 5, 5]},
            vision={
                "window_size": 112,
                "fullatt_block_indexes": [index for index in range(vision_layers) if index % 2 == 1],
            },
        )
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    # Greedy decoding, so that `generate` gives the same answer each time.
    model.generation_config.do_sample = False
    return model
