"""Output on the terminal: names and expressions can neither control the terminal nor flood it.

`echo` replaces `print` (ruff's rule T201 refuses it), `log_to_terminal` replaces `logging.basicConfig`, and
`data_prep.console.make_console` replaces rich's `Console`. Text that is written to files is not changed.
"""

import io
import logging
import os
import re
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# - C0 and C1 control characters, which move the cursor or change the terminal's state;
# - line and paragraph separators;
# - bidirectional embeddings, overrides and isolates, which reorder the rest of the line;
# - surrogates, which cannot be encoded.
# Joiners and marks that ordinary text needs (U+200C to U+200F) stay printable.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST = 1000  # letters; the middle of a longer line is left out
LONGEST_NAME = 120  # letters of a name or an expression; the files of a run hold all of it
SHORT_NAMES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""A text as one line, in which unprintable characters are escapes such as `\x1b` or `\u202e`."""
    return UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    letter = found[0]
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # Python's "surrogateescape" of a byte that is not UTF-8
        code -= 0xDC00
    return SHORT_NAMES.get(letter) or (rf"\x{code:02x}" if code < 256 else rf"\u{code:04x}")


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text of at most about `longest` letters. The middle of a longer one is replaced by its length.

    The end is kept, because an error message ends with the remedy.
    """
    left_out = len(text) - longest
    if left_out <= 0:
        return text
    half = longest // 2
    return f"{text[:half]} … ({left_out:,} letters) … {text[len(text) - (longest - half) :]}"


def counted(number: int, noun: str) -> str:
    """A number with a noun in the right form: `1 track`, `2 tracks`, `0 boxes`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}{'es' if noun.endswith(('x', 's', 'ch', 'sh')) else 's'}"


def printable_lines(text: str) -> str:
    """A text with each of its lines made printable and shortened."""
    return "\n".join(shortened(printable(line)) for line in text.split("\n"))


def echo(text: str, *, error: bool = False) -> None:
    """Print lines to stdout, or to stderr if `error` is true.

    Raises SystemExit where the output is a closed pipe (`| head -1`), as `Console.print` of rich does.
    """
    stream = sys.stderr if error else sys.stdout
    try:
        # Flushed at once: a closed pipe is noticed here, and lines of stdout and stderr keep their order.
        print(printable_lines(text), file=stream, flush=True)
    except BrokenPipeError:
        # Python flushes its streams once more when it ends, which would fail again, with a message.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise SystemExit(1) from None


class PrintableFormatter(logging.Formatter):
    """A formatter of log records whose lines are printable."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of the record, including those of its exception."""
        return printable_lines(super().format(record))


def log_to_terminal(level: int) -> None:
    """Write log records of this level and above to stderr, with the time."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    # `force` removes the handlers that libraries have installed on the root logger.
    logging.basicConfig(level=level, handlers=[handler], force=True)


def prepare_terminal() -> None:
    """Make the output of Python itself printable: warnings, and log records without a handler.

    Characters that the encoding of the terminal lacks are written as escapes from then on. Without this they
    raise UnicodeEncodeError.
    """
    # The streams may have been replaced by objects without `reconfigure`, by pytest for example.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Warnings and log records may quote a name from a file, for example that of a checkpoint's folder.
    warnings.formatwarning = _warning
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(PrintableFormatter("%(message)s"))


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    path = Path(filename)
    if category is UserWarning and path.is_relative_to(ROOT) and "site-packages" not in path.parts:
        # Ours is written for users. Where it stands in the code says nothing to them.
        return f"warning: {printable_lines(str(message))}\n"
    return printable_lines(_plain_warning(message, category, filename, lineno, line))


# Python's own formatter. It is taken at import, since `prepare_terminal` may run more than once.
_plain_warning = warnings.formatwarning
