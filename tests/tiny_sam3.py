"""A small SAM 3 with random weights, and a small tokenizer of CLIP, for tests."""

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTokenizer, Sam3Config, Sam3ImageProcessor, Sam3Model, Sam3Processor
from transformers.convert_slow_tokenizer import bytes_to_unicode

SIDE = 56  # pixels of the square image
# Merges of frequent words, so that words have one token, several tokens, or a token for each letter.
WORDS = ("the", "red", "ball", "left")


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's byte-level BPE, with merges for the words of `WORDS` and a token for each other letter."""
    letters = list(bytes_to_unicode().values())
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            if (pair := (pieces[0], pieces[1])) not in merges:
                merges.append(pair)
            pieces = ["".join(pair), *pieces[2:]]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=32)


def sam3_config(num_tokens: int, side: int = SIDE) -> Sam3Config:
    """The published configuration with a smaller image, narrow encoders, and two layers in every part.

    The DETR, from which scores and boxes come, has its published width and number of queries.
    """
    config = Sam3Config()
    vit = config.vision_config.backbone_config
    # One block attends to windows of 2x2 tokens, the other one to the whole image.
    vit.hidden_size, vit.intermediate_size, vit.num_attention_heads = 64, 128, 2
    vit.num_hidden_layers, vit.global_attn_indexes, vit.window_size = 2, [1], 2
    config.image_size = side
    text = config.text_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = 32, 64, 2
    text.num_attention_heads, text.projection_dim, text.vocab_size = 2, 16, num_tokens
    for part in (config.geometry_encoder_config, config.detr_encoder_config, config.detr_decoder_config):
        part.num_layers = 2
    text.bos_token_id, text.eos_token_id, text.pad_token_id = num_tokens - 2, num_tokens - 1, num_tokens - 1
    return config


def shaken(model: Any, seed: int = 5) -> Any:
    """The model in evaluation mode, with noise on its weights, so that no initial zero hides a mistake."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return model.eval()


def sam3_model(config: Sam3Config) -> Sam3Model:
    """The whole detector of transformers with random weights."""
    torch.manual_seed(0)
    return shaken(Sam3Model(config))


def sam3_processor(tokenizer: CLIPTokenizer, side: int = SIDE) -> Sam3Processor:
    """The processor of a detector for images of this side."""
    return Sam3Processor(Sam3ImageProcessor(size={"height": side, "width": side}), tokenizer)


def save_sam3(folder: Path) -> Sam3Model:
    """Save a small detector with its processor; the model."""
    tokenizer = clip_tokenizer()
    model = sam3_model(sam3_config(len(tokenizer)))
    model.save_pretrained(folder)
    sam3_processor(tokenizer).save_pretrained(folder)
    return model
