"""The style of plots: colours and dashes by tracker, settings of matplotlib, and reproducible files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from data_prep.console import one_line
from data_prep.files import whole_file

# The palette of Okabe and Ito, which people with any kind of colour vision can tell apart
# (https://jfly.uni-koeln.de/color/). Its yellow is left out, because it is hardly visible on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
# 4 dashes and 7 colours have no common divisor, so 28 trackers have different combinations.
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
BETTER, WORSE = COLOURS[0], COLOURS[1]
FORMATS = ("png", "pdf", "svg")
MARGIN = 0.06  # inches around the drawing
MAX_LABEL = 34  # characters of a name in a legend
SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so text looks the same on every machine
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # embed TrueType fonts; some journals refuse type 3
    "svg.hashsalt": "evaluation",  # else the ids in an SVG file are random
}


def line_style(number: int) -> dict[str, Any]:
    """Colour and dash of the tracker with this rank (0 is the best), the same in every plot of a report."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "linewidth": 2.2 if number == 0 else 1.5,
        # Better trackers are drawn over worse ones.
        "zorder": 3 - number / 1000,
    }


def label(text: str, longest: int = MAX_LABEL) -> str:
    """A name as it is printed in a plot: matplotlib reads no `$` as mathematics, and long names are
    shortened.

    Of a name with more than `longest` characters the middle is left out.
    """
    text = one_line(text)
    if len(text) > longest:
        half = (longest - 1) // 2
        text = f"{text[: longest - 1 - half]}…{text[-half:]}"
    return text.replace("$", r"\$")


@contextmanager
def plot_settings() -> Iterator[None]:
    """A context in which matplotlib draws in the style of the report."""
    with mpl.rc_context(SETTINGS):
        yield


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png, .pdf and .svg, each completely or not at all; returns their paths.

    Equal figures give equal bytes: the dates in the metadata are left out.
    """
    dates = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    # Do the layout once and measure the bounding box, instead of once for each format.
    figure.draw_without_rendering()
    box, paths = figure.get_tightbbox().padded(MARGIN), []
    for kind in FORMATS:
        path = stem.with_name(f"{stem.name}.{kind}")
        with whole_file(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=160, bbox_inches=box, metadata=dates[kind])
        paths.append(path)
    return paths
