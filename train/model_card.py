"""The model card of saved weights: `README.md`. It replaces the empty one that peft writes."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from data_prep.contract.contract import CONTRACT_FILE, Contract, contract_values

FILE = "README.md"
PACKAGES = ("python", "torch", "transformers", "peft", "accelerate", "git_revision")


def model_card(about: Mapping[str, Any], contract: Contract, adapters: bool) -> str:
    """The card in Markdown.

    `about` is the content of `training.json`; anything may be missing in it, since adapters of other trainers
    can be merged too. `adapters`: the folder holds adapters, not complete weights.
    """
    # Merged weights name the base of the adapters; others name the model that was fine-tuned.
    base = (about.get("merged") or [about.get("model")])[0]
    return "\n".join(
        [
            *_front_matter(base, adapters),
            *_what(about, base, adapters),
            *_use(adapters),
            *_training(about),
            *_metrics(about.get("metrics") or {}),
            f"## Contract\n\nForm of the model's inputs and outputs (`{CONTRACT_FILE}`):\n",
            *_json(contract_values(contract)),
            *_versions(about.get("versions") or {}),
        ]
    )


def _front_matter(base: str | None, adapters: bool) -> Iterator[str]:
    """The YAML front matter, which the hub reads."""
    yield "---"
    if base:
        yield f"base_model: {json.dumps(base)}"  # JSON strings are YAML strings
    yield f"library_name: {'peft' if adapters else 'transformers'}"
    yield "pipeline_tag: image-text-to-text"
    yield "---"


def _what(about: Mapping[str, Any], base: str | None, adapters: bool) -> Iterator[str]:
    name = (about.get("recipe") or {}).get("name")
    yield f"# {name or 'A grounder'}\n"
    kind = "LoRA adapters" if adapters else "Weights"
    yield f"{kind} of a grounder of ReferTrack, which finds the target of an expression in a frame."
    yield f"Base: `{base or 'not recorded'}`."
    if merged := about.get("merged"):
        yield f"The adapters of `{merged[1]}` are added to it."
    yield ""


def _use(adapters: bool) -> Iterator[str]:
    yield "## Use\n"
    yield "```bash"
    yield "bash infer.sh model.checkpoint=FOLDER workspace=WORKSPACE          # FOLDER: the one of this file"
    yield 'bash infer.sh model.checkpoint=FOLDER video=clip.mp4 prompt="the red car"'
    if adapters:
        yield "bash train.sh task=merge model.checkpoint=FOLDER out=MERGED         # complete weights"
    yield "```\n"


def _training(about: Mapping[str, Any]) -> Iterator[str]:
    yield "## Training\n"
    if "data" not in about:
        # Adapters of other trainers have no record.
        yield "Not recorded.\n"
        return
    done = f"Step {about['step']} of {about['steps']}, {about['pairs']} pairs."
    yield f"Data: {about['data']}. {done} Recipe:\n"
    yield from _json(about.get("recipe") or {})


def _metrics(metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A table with a row for each evaluation set."""
    yield "## Metrics\n"
    if not metrics:
        yield "Not evaluated.\n"
        return
    # Sets may have different metrics, e.g. none about absent targets.
    names = list(dict.fromkeys(name for row in metrics.values() for name in row))
    yield f"| held-out pairs | {' | '.join(name.replace('_', ' ') for name in names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for title, row in metrics.items():
        yield f"| {title} | {' | '.join(_number(row.get(name)) for name in names)} |"
    yield ""


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _versions(versions: Mapping[str, Any]) -> Iterator[str]:
    known = [f"{name} {versions[name]}" for name in PACKAGES if versions.get(name)]
    if known:
        yield f"## Versions\n\n{', '.join(known)}.\n"


def _json(values: Mapping[str, Any]) -> Iterator[str]:
    yield f"```json\n{json.dumps(values, indent=1)}\n```\n"
