"""The page: nothing outside it, nothing in a name that runs, and what it shows is what was scored."""

import dataclasses
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from evaluation_miniature import FAIR, GOOD, POOR, evaluation, tracker

from evaluation.report.compare import compare
from evaluation.report.html_page import page
from evaluation.report.write import print_report, write_report
from evaluation.scores import Evaluation

EVIL = '<script>alert("x")</script><img src=http://example.org/x>'


class Page(HTMLParser):
    """Tags with their attributes, and the words of table cells by tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("td", "th", "button"):
            self.cells.append((data, self.tags[-1][1]))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


class Pictures:
    """Draws one picture, and remembers of whom."""

    asked: tuple[str, str] | None = None

    def pictures(self, a: str, b: str) -> list[tuple[str, np.ndarray]]:
        self.asked = (a, b)
        return [(f"cat-1, frame 7: {a} 0.9, {b} 0.1 {EVIL}", np.zeros((8, 12, 3), np.uint8))]


def short(whole: Evaluation) -> Evaluation:
    """The same with one curve: drawing takes its time."""
    return dataclasses.replace(
        whole, measures=dataclasses.replace(whole.measures, curves=whole.measures.curves[:1])
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path], Pictures]:
    out, pictures = tmp_path_factory.mktemp("report"), Pictures()
    evil = tracker(EVIL, [30.0, np.nan, 20.0, 10.0, 30.0, 25.0])
    paths = write_report(short(evaluation(GOOD, evil, POOR, name=EVIL)), out, pictures=pictures)
    return out, paths, pictures


def test_every_file_is_there_and_told(written: tuple[Path, list[Path], Pictures]):
    out, paths, _ = written
    assert paths[0] == out / "report.html"
    assert sorted(paths) == sorted(path for path in out.rglob("*") if path.is_file())
    names = {path.name for path in paths}
    assert {
        "table.csv",
        "table.tex",
        "table.md",
        "attributes.csv",
        "sequences.csv",
        "comparison.csv",
    } <= names


def test_the_page_loads_nothing_from_outside(written: tuple[Path, list[Path], Pictures]):
    found = Page(written[1][0].read_text("utf-8"))
    for tag, attributes in found.tags:
        for name in ("src", "srcset", "data", "poster", "action", "background"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, name)
        assert tag not in ("link", "iframe", "object", "embed", "base")
    assert [meta for meta in found.named("meta") if "default-src 'none'" in (meta.get("content") or "")]
    assert "url(" not in written[1][0].read_text("utf-8") and "@import" not in written[1][0].read_text(
        "utf-8"
    )
    assert len(found.named("img")) == 1 + 1 + 1 + 1 + 1  # curve, radar, by attribute, deltas, frames


def test_no_name_is_markup(written: tuple[Path, list[Path], Pictures]):
    found = Page(written[1][0].read_text("utf-8"))
    assert len(found.named("script")) == 1
    assert not [image for image in found.named("img") if "example.org" in (image.get("src") or "")]
    assert [link["href"] for link in found.named("a") if not (link["href"] or "").startswith("#")] == [
        "https://example.org/paper"
    ]


def test_the_best_two_are_compared_unless_others_are_named(
    written: tuple[Path, list[Path], Pictures], tmp_path: Path
):
    assert written[2].asked == ("good", EVIL)
    pictures = Pictures()
    plain = short(evaluation(GOOD, FAIR, POOR, attributes=False))
    write_report(plain, tmp_path, compare=("poor", "good"), pictures=pictures)
    assert pictures.asked == ("poor", "good")
    assert "poor against good" in (tmp_path / "comparison.md").read_text()
    assert not (tmp_path / "attributes.csv").exists()


def test_tables_hold_what_sorts_and_what_is_marked():
    found = Page(page(evaluation(), []))
    assert {"data-v": "50.0", "class": "best"} in [
        attributes for words, attributes in found.cells if words == "50.0"
    ]
    assert all("data-v" not in attributes for words, attributes in found.cells if words == "–")
    heads = [head for head in found.named("th") if head.get("scope") == "col"]
    assert [head["data-first"] for head in heads[:4]] == [
        "ascending",
        "descending",
        "descending",
        "ascending",
    ]
    assert ["class" in head for head in heads[:4]] == [False, True, True, True]
    assert "Delay (frames, lower is better)" in [words for words, _ in found.cells]


def test_the_page_tells_protocol_formula_source_notes_and_comparison():
    text = page(evaluation(), [], compare(evaluation(), "good", "poor"))
    for words in (
        "Protocol <strong>toy</strong>",
        "A frame counts where a &gt; b &amp; c &lt; d.",
        "cat-1: cut by 3 lines",
        "good is better.",
    ):
        assert words in text


def test_sections_without_content_are_left_out():
    text = page(evaluation(GOOD, attributes=False), [])
    assert 'href="#sequences"' in text
    for section in ("plots", "attributes", "comparison", "frames"):
        assert f'id="{section}"' not in text and f'href="#{section}"' not in text


def test_the_terminal_has_the_table_and_the_comparison(capsys: pytest.CaptureFixture[str]):
    print_report(evaluation(), ("poor", "good"))
    said = capsys.readouterr().out
    assert "protocol: toy" in said and "good" in said and "Success: poor − good = −38.0 points" in said
    print_report(evaluation(GOOD))
    assert "−" not in capsys.readouterr().out
