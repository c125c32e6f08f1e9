"""Text on the terminal: names and texts from files on one line, and the console for tables and
progress bars.
"""

from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from configs.terminal import UNPRINTABLE, printable, shortened


def one_line(text: str, longest: int | None = None) -> str:
    """A text as one line: runs of blanks become one, and control characters are removed.

    A file of prompts may contain anything, including codes that control a terminal. A text of more than
    `longest` characters is shortened in the middle.
    """
    line = " ".join(UNPRINTABLE.sub(" ", text).split())
    return line if longest is None else shortened(line, longest)


class PrintableConsole(Console):
    """A rich console that prints texts unchanged and does not let them control the terminal.

    A prompt such as `[red] :cup:` is not markup. If the output is not a terminal, there are no colour codes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The segments of a text or table: control codes are rich's own, and all characters are printable."""
        for segment in super().render(renderable, options):
            if segment.control or not UNPRINTABLE.search(segment.text):
                yield segment
            else:
                lines = segment.text.split("\n")
                yield Segment("\n".join(map(printable, lines)), segment.style)


def make_console(stderr: bool = False) -> PrintableConsole:
    """A console on stdout, or on stderr."""
    return PrintableConsole(stderr=stderr)
