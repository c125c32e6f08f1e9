"""Names and texts from files as people may be shown them.

The terminal as every module writes tables and bars to it.
"""

from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from configs.terminal import UNPRINTABLE, printable, shortened


def one_line(words: str, longest: int | None = None) -> str:
    """A text for people to read in one line: blanks run together, control characters are left out.

    A prompt file may hold anything, also codes that a terminal would obey. Of a text of more than `longest`
    letters the middle is left out.
    """
    line = " ".join(UNPRINTABLE.sub(" ", words).split())
    return line if longest is None else shortened(line, longest)


class PrintableConsole(Console):
    """A rich console that takes texts as they are and lets none of them control the terminal.

    A prompt such as `[red] :cup:` is no markup. Where the file is no terminal there are no colour codes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The segments of a text or table: colours and movements are rich's own, letters are printable."""
        for segment in super().render(renderable, options):
            if segment.control or not UNPRINTABLE.search(segment.text):
                yield segment
            else:
                lines = segment.text.split("\n")
                yield Segment("\n".join(map(printable, lines)), segment.style)


def make_console(stderr: bool = False) -> PrintableConsole:
    """A console on stdout, or on stderr."""
    return PrintableConsole(stderr=stderr)
