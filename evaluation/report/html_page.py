"""The report as one HTML file, which needs neither a network nor other files."""

import base64
import io
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from configs.terminal import printable
from data_prep.console import one_line
from evaluation.report.compare import RESAMPLES, Comparison
from evaluation.report.plots import ATTRIBUTE_CURVES, CURVES, DELTAS, RADAR, Plot
from evaluation.report.tables import (
    Cell,
    Table,
    about,
    attribute_table,
    marked_cells,
    overall_table,
    side_by_side_table,
)
from evaluation.scores import Evaluation, attributes_of

FOLDER = Path(__file__).with_name("page")
QUALITY = 88  # of JPEG


def page(
    evaluation: Evaluation,
    plots: Sequence[Plot],
    comparisons: Sequence[Comparison] = (),
    pictures: Sequence[tuple[str, np.ndarray]] = (),
) -> str:
    """The text of the page. `pictures` are pairs of a caption and an image, RGB uint8 (height, width, 3)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,  # names of trackers and sequences come from folders and may contain markup
        # A misspelt name in the template is an error and not an empty text.
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The first metric ranks trackers; tables by attribute and by sequence show it alone.
    first = evaluation.measures.metrics[0]
    has_attributes = bool(attributes_of(evaluation))
    content: dict[str, Any] = {
        "benchmark": one_line(evaluation.benchmark.name),
        "protocol": evaluation.measures.protocol,
        "formula": evaluation.measures.formula,
        "source": evaluation.measures.source,
        "num_sequences": len(evaluation.benchmark.sequences),
        "overall": _table(overall_table(evaluation)),
        "attributes": _table(attribute_table(evaluation, first)) if has_attributes else None,
        "comparison_lines": [one_line(each.summary()) for each in comparisons],
        "compared": _table(comparisons[0].table(about(evaluation))) if comparisons else None,
        "resamples": RESAMPLES,
        # Images are embedded as data URIs, so that the page is a single file.
        "pictures": [{"title": one_line(caption), "uri": _jpeg(image)} for caption, image in pictures],
        "by_sequence": _table(side_by_side_table(evaluation, first)),
        "notes": [printable(note) for note in evaluation.notes],
        **{group: _embedded(plots, group) for group in (CURVES, RADAR, ATTRIBUTE_CURVES, DELTAS)},
    }
    content["sections"] = _sections(content)
    return environment.get_template("report.html").render(content)


def _sections(content: dict[str, Any]) -> list[str]:
    """The titles of the sections that are not empty, in order."""
    needs = {
        "Overall": "overall", "Plots": CURVES, "Attributes": "attributes", "Comparison": "compared",
        "Frames": "pictures", "Sequences": "by_sequence", "Notes": "notes",
    }  # fmt: skip
    return [section for section, need in needs.items() if content[need]]


def _table(table: Table) -> dict[str, Any]:
    """A table as the template reads it. The first click on a heading sorts the best values to the top."""
    columns = []
    for number, column in enumerate(table.columns):
        numeric = table.numeric(number)
        # The template needs to know which order puts the best value first.
        falls = numeric and column.higher_is_better is not False
        first = "descending" if falls else "ascending"
        columns.append({"heading": one_line(column.plain_heading), "numeric": numeric, "first": first})
    rows = [
        [
            {"text": text, "mark": mark, "value": _value(cell)}
            for (text, mark), cell in zip(cells, row, strict=True)
        ]
        for cells, row in zip(marked_cells(table), table.rows, strict=True)
    ]
    return {"title": one_line(table.title), "columns": columns, "rows": rows}


def _value(cell: Cell) -> float | None:
    return None if isinstance(cell, str) or isnan(cell) else float(cell)


def _embedded(plots: Sequence[Plot], group: str) -> list[dict[str, str]]:
    return [
        {"title": one_line(plot.title), "uri": _data_uri("image/svg+xml", plot.svg.read_bytes())}
        for plot in plots
        if plot.group == group
    ]


def _jpeg(image: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=QUALITY)
    return _data_uri("image/jpeg", data.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
