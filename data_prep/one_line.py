"""Names and texts from files as people may be shown them."""

from configs.terminal import UNPRINTABLE, shortened


def one_line(words: str, longest: int | None = None) -> str:
    """A text for people to read in one line: blanks run together, control characters are left out.

    A prompt file may hold anything, also codes that a terminal would obey. Of a text of more than `longest`
    letters the middle is left out.
    """
    line = " ".join(UNPRINTABLE.sub(" ", words).split())
    return line if longest is None else shortened(line, longest)
