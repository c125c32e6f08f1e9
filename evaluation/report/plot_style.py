"""How plots look: colours and dashes that tell trackers apart in print, and files that are always alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from data_prep.console import one_line
from data_prep.files import whole_file

# Okabe and Ito's colours for all kinds of colour vision, without the yellow that paper swallows
# (https://jfly.uni-koeln.de/color/).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
# Numbers of dashes and colours have no common divisor: 28 trackers pass before a pair comes again.
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
BETTER, WORSE = COLOURS[0], COLOURS[1]
FORMATS = ("png", "pdf", "svg")
MARGIN = 0.06  # inches around all that is drawn
LONGEST = 34  # letters of a name in a legend
SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: every machine paints the same letters
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # letters stay letters; some journals refuse type 3
    "svg.hashsalt": "evaluation",
}


def line_style(number: int) -> dict[str, Any]:
    """Colour and dash of the tracker with this rank; the same in every plot of a report."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "linewidth": 2.2 if number == 0 else 1.5,
        "zorder": 3 - number / 1000,
    }


def label(words: str, longest: int = LONGEST) -> str:
    """A name in a plot: no letter of it is mathematics, and the middle of a long one is left out."""
    words = one_line(words)
    if len(words) > longest:
        half = (longest - 1) // 2
        words = f"{words[: longest - 1 - half]}…{words[-half:]}"
    return words.replace("$", r"\$")


@contextmanager
def plot_settings() -> Iterator[None]:
    """While this holds, what matplotlib draws looks as every plot of a report does."""
    with mpl.rc_context(SETTINGS):
        yield


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png, .pdf and .svg, each whole or not at all; equal figures give equal bytes."""
    dates = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    figure.draw_without_rendering()  # lays it out, so that what it takes is measured once for all kinds
    box, paths = figure.get_tightbbox().padded(MARGIN), []
    for kind in FORMATS:
        path = stem.with_name(f"{stem.name}.{kind}")
        with whole_file(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=160, bbox_inches=box, metadata=dates[kind])
        paths.append(path)
    return paths
