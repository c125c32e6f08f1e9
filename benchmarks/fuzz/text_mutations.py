"""Mutations of text files: lines cut, doubled, exchanged and lengthened, numbers and JSON values replaced."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

Operation = Callable[[Random, Path], None]
# Words in the place of a number. Some of them Python's `float` accepts and other parsers do not.
NUMBERS = (
    *("nan", "inf", "-inf", "1e400", "-1", "0", "-0.0", "1e-300", "99999999999999999999", "", "x", "0x10"),
    *("1_000", "\u0663", "1.5.2", "1e9", "-7", "--", "True"),
)
# Values in the place of a JSON value: other types, numbers out of range, paths, and code.
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e300, float("nan"), 10**30, "", "x", "\x1b[31m", [], {}, [[1]], {"a": 1}),
    *("../../outside", "\udce9", "a" * 5000, "__import__('os')", 0.5, "-1", [None]),
)


def _lines(rng: Random, path: Path, change: Callable[[Random, list[bytes]], list[bytes]]) -> None:
    # Bytes and not text: the file need not be UTF-8 after an earlier mutation.
    # Split at LF alone, so that a CR stays in its line.
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(change(rng, lines)))


def _cut_line(rng: Random, lines: list[bytes]) -> list[bytes]:
    at = rng.randrange(len(lines))
    return lines[:at] + lines[at + 1 :]


def _double_line(rng: Random, lines: list[bytes]) -> list[bytes]:
    at = rng.randrange(len(lines))
    return [*lines[: at + 1], *lines[at:]]


def _exchange_lines(rng: Random, lines: list[bytes]) -> list[bytes]:
    one, other = (rng.randrange(len(lines)) for _ in range(2))
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def _blank_line(rng: Random, lines: list[bytes]) -> list[bytes]:
    lines.insert(rng.randrange(len(lines)), rng.choice((b"", b"   ", b"\t", b"#", b"0")))
    return lines


def _long_line(rng: Random, lines: list[bytes]) -> list[bytes]:
    at = rng.randrange(len(lines))
    lines[at] = lines[at] + rng.choice((b"9", b",1", b" a", b"\x1b[1m")) * rng.choice(
        (300, 30_000, 1_000_000)
    )
    return lines


def _other_ends(rng: Random, lines: list[bytes]) -> list[bytes]:
    end = rng.choice((b"\r", b" ", b"\t", b","))
    return [line + end if line else line for line in lines]


def _other_separators(rng: Random, lines: list[bytes]) -> list[bytes]:
    separator = rng.choice((b" ", b"\t", b";", b", ", b".", b"\xc2\xa0"))
    at = rng.randrange(len(lines))
    lines[at] = lines[at].replace(b",", separator)
    return lines


def _number(rng: Random, lines: list[bytes]) -> list[bytes]:
    """Replace one of the words between commas or equal signs."""
    at = rng.randrange(len(lines))
    # Lines of numbers have commas, and those of settings equal signs (`key=value`).
    parts = lines[at].split(b",") if b"," in lines[at] else lines[at].split(b"=")
    parts[rng.randrange(len(parts))] = rng.choice(NUMBERS).encode()
    lines[at] = (b"," if b"," in lines[at] else b"=").join(parts)
    return lines


def _on_lines(change: Callable[[Random, list[bytes]], list[bytes]]) -> Operation:
    return lambda rng, path: _lines(rng, path, change)


def _json(rng: Random, path: Path, change: Callable[[Random, Any, str | int], None]) -> None:
    """Change one random place of a JSON file. A file that is not JSON is left unchanged."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):  # the latter after the mutation `deep`
        return
    places = list(_places(content))
    if places:
        # Places near the root matter most; a tokenizer has 100,000 more below them.
        holder, key = rng.choice(places[:2000])
        change(rng, holder, key)
    # Lone surrogates among the values cannot be encoded otherwise.
    # NaN is written as such, which Python's parser reads back and the JSON standard does not allow.
    path.write_text(json.dumps(content), errors="surrogateescape")


def _places(content: Any) -> list[tuple[Any, str | int]]:
    """Every container and key below a JSON value in breadth-first order, up to about 5,000."""
    found, queue = [], [content]
    while queue:
        holder = queue.pop(0)
        if isinstance(holder, dict | list):
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            found += [(holder, key) for key in keys]
            queue += [holder[key] for key in keys]
        if len(found) > 5000:
            break
    return found


def _other_value(rng: Random, holder: Any, key: Any) -> None:
    holder[key] = rng.choice(VALUES)


def _no_value(rng: Random, holder: Any, key: Any) -> None:  # noqa: ARG001
    del holder[key]


def _other_key(rng: Random, holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[f"{key}{rng.choice(('s', '_', ' '))}"] = holder.pop(key)
    else:
        # A list has no keys, so an entry is repeated.
        holder.append(holder[key])


def _more_keys(rng: Random, holder: Any, key: Any) -> None:  # noqa: ARG001
    if isinstance(holder, dict):
        # `auto_map` names Python files of a checkpoint, which transformers runs if remote code is trusted.
        holder[rng.choice(("auto_map", "a key", "\x1b[31m", "__class__"))] = rng.choice(VALUES)


def _on_json(change: Callable[[Random, Any, Any], None]) -> Operation:
    return lambda rng, path: _json(rng, path, change)


def _deep(rng: Random, path: Path) -> None:  # noqa: ARG001
    path.write_text("[" * 100_000)  # deeper than the recursion limit of Python's parser


LINES: dict[str, Operation] = {
    name: _on_lines(change)
    for name, change in {
        "cut a line of": _cut_line,
        "double a line of": _double_line,
        "exchange lines of": _exchange_lines,
        "put a blank line into": _blank_line,
        "lengthen a line of": _long_line,
        "number in": _number,
        "other line ends in": _other_ends,
        "other separators in": _other_separators,
    }.items()
}
JSON: dict[str, Operation] = {
    "other value in": _on_json(_other_value),
    "value cut from": _on_json(_no_value),
    "other key in": _on_json(_other_key),
    "more keys in": _on_json(_more_keys),
    "deep": _deep,
}
