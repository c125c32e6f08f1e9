"""The nearest right name to a misspelt one."""

import difflib
from collections.abc import Iterable


def did_you_mean(wrong: str, names: Iterable[str]) -> str:
    """The end of a message, `; did you mean X?`; empty where no name is near.

    A bare last part is taken as well: `checkpoint` is near `model.checkpoint`.
    """
    known = list(names)
    near = difflib.get_close_matches(wrong, known, n=1)
    near = near or [name for name in known if name.endswith("." + wrong)][:1]
    near = near or _by_last_part(wrong, known)
    return f"; did you mean {near[0]}?" if near else ""


def _by_last_part(wrong: str, known: list[str]) -> list[str]:
    last_parts = {name.rsplit(".", 1)[-1]: name for name in reversed(known)}
    near = difflib.get_close_matches(wrong.rsplit(".", 1)[-1], last_parts, n=1)
    return [last_parts[name] for name in near]
