"""The exception for a user's mistake, and the suggestion that its message makes for a misspelt name."""

import difflib
from collections.abc import Iterable, Sequence

NEAR = 0.75  # difflib's ratio of two names from which one may be a misspelling of the other


class UserError(Exception):
    """A mistake that the user can correct. The message is one line that names the file or key and the remedy.

    Commands print it without a traceback and exit with status 1.
    """


def did_you_mean(wrong: str, names: Iterable[str]) -> str:
    """The end of an error message, `; did you mean X?`, or an empty text where no name is similar.

    `names` are the names that exist; they may be dotted, as keys of a configuration are.
    """
    known = list(names)
    near = (
        # 1. The end of a dotted name: `model.checkpoint` for `checkpoint`.
        [name for name in known if name.endswith("." + wrong)]
        # 2. A misspelling, compared part by part: `model.checkpoint` for `modle.chekpoint`.
        or _nearest(wrong, [name for name in known if _alike(wrong, name)])
        # 3. The beginning of a name of the same section: `tracker.lost_after` for `tracker.lost`.
        or ([name for name in known if name.startswith(f"{wrong}_")] if "." in wrong else [])
        # 4. A misspelling of the last part alone: `model.checkpoint` for `chekpoint`.
        or ([] if "." in wrong else _by_last_part(wrong, known))
    )
    return f"; did you mean {near[0]}?" if near else ""


def _nearest(wrong: str, known: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(wrong, known, n=1, cutoff=NEAR)


def _alike(wrong: str, name: str) -> bool:
    """Whether two dotted names have the same number of parts, and all parts are similar."""
    parts = list(zip(wrong.split("."), name.split("."), strict=False))
    return wrong.count(".") == name.count(".") and all(_nearest(one, [other]) for one, other in parts)


def _by_last_part(wrong: str, known: Sequence[str]) -> list[str]:
    # Reversed, so that the first of several keys with the same last part is the one that stays.
    last_parts = {name.rpartition(".")[2]: name for name in reversed(known)}
    return [last_parts[near] for near in _nearest(wrong, list(last_parts))]
