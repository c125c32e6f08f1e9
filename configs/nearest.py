"""The nearest right name to a misspelt one."""

import difflib
from collections.abc import Iterable, Sequence

NEAR = 0.75  # share of letters in common from which one name may be meant by the other


def did_you_mean(wrong: str, names: Iterable[str]) -> str:
    """The end of a message, `; did you mean X?`; empty where no name is near.

    Names may be dotted. Tried in this order: 1. a name that ends in all of `wrong`, as `model.checkpoint` in
    `checkpoint`; 2. a name near to it, part by part; 3. where it names a section, a name of that section
    that begins with it, as `tracker.find_above` with `tracker.find`; where it does not, a name with a last
    part near to it.
    """
    known = list(names)
    near = (
        [name for name in known if name.endswith("." + wrong)]
        or _nearest(wrong, [name for name in known if _alike(wrong, name)])
        or ([name for name in known if name.startswith(f"{wrong}_")] if "." in wrong else [])
        or ([] if "." in wrong else _by_last_part(wrong, known))
    )
    return f"; did you mean {near[0]}?" if near else ""


def _nearest(wrong: str, known: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(wrong, known, n=1, cutoff=NEAR)


def _alike(wrong: str, name: str) -> bool:
    """Whether two names have as many parts, each near to the other's."""
    parts = list(zip(wrong.split("."), name.split("."), strict=False))
    return wrong.count(".") == name.count(".") and all(_nearest(one, [other]) for one, other in parts)


def _by_last_part(wrong: str, known: Sequence[str]) -> list[str]:
    last_parts = {name.rpartition(".")[2]: name for name in reversed(known)}
    return [last_parts[near] for near in _nearest(wrong, list(last_parts))]
