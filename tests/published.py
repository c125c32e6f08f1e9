"""Small checkpoints with the files of published ones: the layout of the hub, and the real vocabularies.

A folder holds what a download holds, and no contract.json: config.json in the words of the hub, weights in
bfloat16 under the names of the hub, tokenizer.json with all tokens, tokenizer_config.json,
generation_config.json, preprocessor_config.json and the chat template. The configuration is the published one
with two layers of width 64. Weights are random.

`save_published(folder, name)` writes one of `PUBLISHED`; it takes about a second.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer

from data_prep.contract.wordings import VPTRACKER_TOKENS
from models.families import FAMILIES, PUBLISHED_SIZES
from tests.hub_configs import HUB_CONFIG, cut_config
from tests.qwen_vocabulary import CONTROL, tokenizer_file

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\nOPENING{% endif %}"
)
"""Renders the text that the published templates make of a question. OPENING stands for what a template writes
before the answer."""
SYSTEM = {"qwen2_5_vl": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"}
"""What precedes the question. Qwen3-VL and Qwen3.5 have nothing there."""
OPENED, CLOSED = "<think>\n", "<think>\n\n</think>\n\n"
SWITCH = "{% if enable_thinking is defined and enable_thinking is DEFAULT %}FIRST{% else %}SECOND{% endif %}"
# Qwen3.5 thinks if it is asked to (0.8B, 2B), or unless it is asked not to (4B and larger).
ASKED_TO_THINK = SWITCH.replace("DEFAULT", "true").replace("FIRST", OPENED).replace("SECOND", CLOSED)
ASKED_NOT_TO = SWITCH.replace("DEFAULT", "false").replace("FIRST", CLOSED).replace("SECOND", OPENED)

HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
OF_QWEN3: dict[str, Any] = {
    "size": {"shortest_edge": 65536, "longest_edge": 16777216},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    **HALVES,
    "processor_class": "Qwen3VLProcessor",
    "image_processor_type": "Qwen2VLImageProcessorFast",
}
PREPROCESSOR: dict[str, dict[str, Any]] = {
    "qwen2_5_vl": {
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        **CLIP,
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    },
    "qwen3_vl": OF_QWEN3,
    "qwen3_5": OF_QWEN3,
}
"""preprocessor_config.json by `model_type`."""
VIDEO = {
    **{key: value for key, value in OF_QWEN3.items() if key != "image_processor_type"},
    "size": {"shortest_edge": 4096, "longest_edge": 25165824},
    "video_processor_type": "Qwen3VLVideoProcessor",
}
"""video_preprocessor_config.json of Qwen3-VL and Qwen3.5."""


@dataclass(frozen=True)
class Published:
    """A published checkpoint.

    `size` is a key of `PUBLISHED_SIZES`, and `vocabulary` one of `tests.qwen_vocabulary`. `opening` is what
    the chat template writes before the answer, `template_file` where it is stored, and `shards` the number of
    files of weights.
    """

    size: str
    vocabulary: str
    generation: Mapping[str, Any]
    template_file: str = "chat_template.json"
    opening: str = ""
    added_tokens: tuple[str, ...] = ()
    shards: int = 1
    extra_weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def model_type(self) -> str:
        """That of its config.json."""
        return PUBLISHED_SIZES[self.size].model_type


QWEN2_5 = {"do_sample": True, "repetition_penalty": 1.05, "temperature": 1e-6}
QWEN3 = {"do_sample": True, "repetition_penalty": 1.0, "temperature": 0.7, "top_k": 20, "top_p": 0.8}
VPTRACKER = Published(
    "qwen3_vl_4b", "qwen3", QWEN3, "chat_template.jinja", added_tokens=VPTRACKER_TOKENS, shards=2
)
PUBLISHED: dict[str, Published] = {
    "qwen2_5_vl": Published("qwen2_5_vl_7b", "qwen2_5", QWEN2_5, shards=2),
    "qwen3_vl": Published("qwen3_vl_4b", "qwen3", QWEN3),
    "qwen3_5": Published(
        *("qwen3_5_2b", "qwen3_5", QWEN3, "chat_template.jinja", ASKED_TO_THINK),
        extra_weights={"mtp.fc.weight": (64, 128)},
    ),
    "vptracker": VPTRACKER,
    "qwen3_vl_thinking": Published("qwen3_vl_4b", "qwen3", QWEN3, opening=OPENED),
}
"""By name. `vptracker` has its six special tokens; the template of `qwen3_vl_thinking` opens a thought."""


def save_published(folder: Path, name: str) -> Path:
    """Write a checkpoint of `PUBLISHED` into a folder, which is made; returns the folder."""
    published = PUBLISHED[name]
    config = cut_config(published.size)
    torch.manual_seed(0)
    model = FAMILIES[published.model_type].model_class()(config).to(torch.bfloat16)
    size = sum(weight.numel() * 2 for weight in model.parameters())
    model.save_pretrained(folder, max_shard_size=size if published.shards == 1 else size * 2 // 3)
    if published.extra_weights:
        path = folder / "model.safetensors"
        extra = {name: torch.zeros(shape) for name, shape in published.extra_weights.items()}
        save_file({**load_file(path), **extra}, path, metadata={"format": "pt"})
    _write(folder / "config.json", HUB_CONFIG[published.model_type](config))
    _write(folder / "generation_config.json", _generation(published))
    _write(folder / "preprocessor_config.json", PREPROCESSOR[published.model_type])
    if published.model_type != "qwen2_5_vl":
        _write(folder / "video_preprocessor_config.json", VIDEO)
    save_tokenizer(folder, published)
    return folder


def save_tokenizer(folder: Path, published: Published) -> None:
    """Write the files of the tokenizer, and the chat template."""
    source = tokenizer_file(published.vocabulary)
    if published.added_tokens:
        tokenizer = Tokenizer.from_file(str(source))
        tokenizer.add_special_tokens(
            [AddedToken(token, normalized=False) for token in published.added_tokens]
        )
        tokenizer.save(str(folder / "tokenizer.json"))
    else:
        shutil.copy(source, folder / "tokenizer.json")
    added = json.loads((folder / "tokenizer.json").read_text("utf-8"))["added_tokens"]
    values = {str(token.pop("id")): token for token in added}
    _write(
        folder / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            "added_tokens_decoder": values,
            "additional_special_tokens": [*CONTROL[1:], *published.added_tokens],
            "bos_token": None,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 131072,
            "pad_token": "<|endoftext|>",
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )
    template = SYSTEM.get(published.model_type, "") + CHAT_TEMPLATE.replace("OPENING", published.opening)
    if published.template_file.endswith(".json"):
        _write(folder / published.template_file, {"chat_template": template})
    else:
        (folder / published.template_file).write_text(template, "utf-8")


def _generation(published: Published) -> dict[str, Any]:
    first = {"qwen3_5": 248_044}.get(published.vocabulary, 151_643)  # <|endoftext|>
    return {
        "bos_token_id": first,
        "pad_token_id": first,
        "eos_token_id": [first + 2, first],
        **published.generation,
        "transformers_version": "4.57.0.dev0",
    }


def _write(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
