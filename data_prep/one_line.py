"""Names and texts from files as people may be shown them."""

import unicodedata


def one_line(words: str) -> str:
    """A text for people to read in one line: blanks run together, control characters are left out.

    A prompt file may hold anything, also codes that a terminal would obey.
    """
    kept = (c if unicodedata.category(c) not in ("Cc", "Cs") else " " for c in words)
    return " ".join("".join(kept).split())
