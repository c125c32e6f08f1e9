"""Text on the terminal: no name and no expression, whatever it holds, controls the terminal or floods it.

`echo` takes the place of `print` (ruff's T201 refuses that), `log_to_terminal` of `logging.basicConfig`, and
`data_prep.console.make_console` of rich's `Console`. What is written to files is not changed by any of them.
"""

import io
import logging
import re
import sys
import warnings

# C0 and C1 controls, which a terminal obeys; line and paragraph separators; bidirectional embeddings,
# overrides and isolates, which show the rest of a line in another order; surrogates, which cannot be encoded.
# Joiners and marks that ordinary texts need (U+200C to U+200F) are none of these.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST = 1000  # letters of a line; the middle of a longer one is left out
SHORT_NAMES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""A text in one line, its unprintable letters written as `\x1b` or `\u202e`, the others as they are."""
    return UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    letter = found[0]
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8, as Python keeps it
        code -= 0xDC00
    return SHORT_NAMES.get(letter) or (rf"\x{code:02x}" if code < 256 else rf"\u{code:04x}")


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text of at most about `longest` letters: the middle of a longer one gives way to how much it was.

    The end is kept, since there an error says what to do.
    """
    left_out = len(text) - longest
    if left_out <= 0:
        return text
    half = longest // 2
    return f"{text[:half]} … ({left_out:,} letters) … {text[len(text) - (longest - half) :]}"


def counted(number: int, noun: str) -> str:
    """A number of things in words: `1 track`, `2 tracks`, `0 boxes`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}{'es' if noun.endswith(('x', 's', 'ch', 'sh')) else 's'}"


def printable_lines(text: str) -> str:
    """Each line of a text printable and shortened."""
    return "\n".join(shortened(printable(line)) for line in text.split("\n"))


def echo(text: str, *, error: bool = False) -> None:
    """Print lines to stdout, or with `error` to stderr."""
    print(printable_lines(text), file=sys.stderr if error else sys.stdout)


class PrintableFormatter(logging.Formatter):
    """A log record in printable lines."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines, those of an exception among them."""
        return printable_lines(super().format(record))


def log_to_terminal(level: int) -> None:
    """Let log records of this level and above be lines on stderr, with the time."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def prepare_terminal() -> None:
    """Make what Python itself prints printable: warnings, and log records that no handler takes.

    Letters that the terminal's encoding lacks are then written as escapes; otherwise they are an error.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = _warning
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(PrintableFormatter("%(message)s"))


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return printable_lines(_plain_warning(message, category, filename, lineno, line))


_plain_warning = warnings.formatwarning
