"""The text of `--help`: what a command does, its choices, and every key with its type and default."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from configs.compose import Composer
from configs.schema import Key, keys_of, sections_of

WIDTH = 110  # letters of a line
COLUMN = 34  # at which the descriptions begin
# An entry of a defaults list with a comment: `- optional tracker: referral # how a target is followed`.
COMMENTED_GROUP = re.compile(r"-\s*(?:override\s+|optional\s+)*/?(?P<group>\w+)\s*:[^#]*#\s*(?P<words>.+)")


def help_text(command: str, doc: str, config: DictConfig, composer: Composer, folder: Path) -> str:
    """The text of `--help`, in which the options and values of `config` are shown as the current ones.

    `doc` describes the command. The description of a group is that of the key with the same name. If there is
    no such key, it is the comment beside the group in `<folder>/<command>.yaml`.
    """
    # The description of a key of the same name takes precedence over the comment in the YAML file.
    words = {**_group_comments(folder / f"{command}.yaml"), **dict(sections_of(config))}
    blocks = [
        f"python -m {command} [key=value ...]",
        "\n".join(textwrap.wrap(" ".join(doc.split()), WIDTH)),
        "\n".join(
            ["Choices (group=option; the current option is shown):", *_choices(config, composer, words)]
        ),
        "\n".join(["Keys (key=value; the current value is shown):", *_keys(config)]),
        "Flags: -m runs every combination of comma-separated values (seed=1,2). --cfg job prints the\n"
        "configuration and runs nothing. --hydra-help lists the other flags.",
    ]
    return "\n\n".join(blocks)


def _choices(config: DictConfig, composer: Composer, words: dict[str, str]) -> Iterator[str]:
    for group, option in sorted(config.hydra.runtime.choices.items()):
        if "/" in group:
            continue  # Hydra's own
        options = ", ".join(composer.options(group)) or "none yet"
        yield _entry(f"{group}={option or 'null'}", f"{options}. {words.get(group, '')}")


def _keys(config: DictConfig) -> Iterator[str]:
    for key in keys_of(config):
        yield _entry(f"{key.name}={shown(key.value)}", f"{key.kind_name}{_limits(key)}. {key.doc}")


def shown(value: object) -> str:
    """A value as it is written on the command line, or `(required)` for a missing one."""
    if value == "???":  # OmegaConf's mark of a missing value
        return "(required)"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _limits(key: Key) -> str:
    if key.choices:
        return f": {', '.join(key.choices)}"
    low, high = key.minimum, key.maximum
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if low is not None:
        return f" from {low:g}"
    return "" if high is None else f" up to {high:g}"


def _entry(left: str, words: str) -> str:
    """One entry: `left` with the description beside it, or on the lines below where `left` is long."""
    # Not broken at hyphens, so that names and flags that contain one stay whole.
    lines = textwrap.wrap(words.strip(), WIDTH - COLUMN, break_on_hyphens=False)
    indented = [" " * COLUMN + line for line in lines]
    if len(left) + 4 > COLUMN:  # indented by 2, and at least 2 blanks before the description
        return "\n".join([f"  {left}", *indented])
    return "\n".join([f"  {left}".ljust(COLUMN) + lines[0], *indented[1:]])


def _group_comments(path: Path) -> dict[str, str]:
    found = (COMMENTED_GROUP.search(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {match["group"]: match["words"] for match in found if match}
