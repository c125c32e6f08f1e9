"""Groups of tracks by the attributes of rendered sequences (`attributes.json`, see `data_prep.world.film`).

A sequence without this file is in no group.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from configs.terminal import LONGEST_NAME
from data_prep.console import one_line
from data_prep.readers.meta_expressions import read_json

FILE = "attributes.json"
# Shares of the frame up to which a target has a size.
SIZES = {"0 to 1 % of the frame": 0.01, "1 to 3 %": 0.03, "3 % or more": 1.0}
NEVER_PRESENT = "never present"


def _absence(attributes: Mapping[str, Any], _: str) -> Any:
    return attributes.get("absence")


def _size(attributes: Mapping[str, Any], _: str) -> Any:
    if "median_area_share" not in attributes:
        return None
    share = attributes["median_area_share"]
    # None: the target is in no frame of the video.
    if not isinstance(share, int | float):
        return NEVER_PRESENT
    return next((name for name, largest in SIZES.items() if share <= largest), None)


def _expression_kind(attributes: Mapping[str, Any], expression: str) -> Any:
    found = attributes.get("expressions")
    known = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return next((each.get("kind") for each in known if each.get("text") == expression), None)


GROUPINGS: dict[str, Callable[[Mapping[str, Any], str], Any]] = {
    "absence": _absence,
    "size": _size,
    "expression": _expression_kind,
}
"""How tracks are grouped: the name of a grouping, and the group of an expression in a sequence with these
attributes. What is not a text is no group."""


def groups_of(folder: Path | None, expression: str) -> dict[str, str]:
    """The groups of a track by the name of the grouping; empty where its sequence has no attributes.

    Raises UserError where `attributes.json` is damaged.
    """
    attributes = _attributes(folder) if folder else {}
    found = {name: group(attributes, expression) for name, group in GROUPINGS.items()} if attributes else {}
    return {name: one_line(value, LONGEST_NAME) for name, value in found.items() if isinstance(value, str)}


def _attributes(folder: Path) -> Mapping[str, Any]:
    path = folder / FILE
    content = read_json(path, "remove it, or render the sequence again") if path.is_file() else {}
    return content if isinstance(content, dict) else {}
