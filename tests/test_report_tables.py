"""Tables: means that count as they say, marks that agree with what is shown, and names that break nothing."""

import csv
import io
import re

import numpy as np
import pytest
from evaluation_miniature import FAIR, GOOD, POOR, evaluation, tracker
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from evaluation.report.ablation_table import Ablation, Row, run_table
from evaluation.report.table_formats import csv_text, latex_escaped, latex_text, markdown_text, print_table
from evaluation.report.tables import (
    BEST,
    SECOND,
    Column,
    Table,
    attribute_table,
    overall_table,
    rank_marks,
    sequence_table,
    side_by_side_table,
)
from evaluation.scores import mean_curve, metric_value, ranked, weighted_mean

NASTY = r"a_b & 100% $x$ {y} #1 ~^\ <i>|"


def printed(sheet: Table, width: int, terminal: bool) -> str:
    out = io.StringIO()
    print_table(sheet, Console(file=out, width=width, force_terminal=terminal, markup=False, no_color=True))
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@given(st.lists(st.one_of(st.just(np.nan), st.floats(0, 100)), min_size=1, max_size=8), st.integers(0, 99))
def test_a_mean_leaves_out_what_is_nan_and_weighs_the_rest(values, seed):
    weights = np.random.default_rng(seed).integers(1, 9, len(values)).astype(float)
    there = ~np.isnan(values)
    found = weighted_mean(np.array(values), weights)
    if there.any():
        assert found == pytest.approx(np.average(np.array(values)[there], weights=weights[there]))
    else:
        assert np.isnan(found)


def test_a_curve_of_nan_counts_in_no_mean():
    curves = np.array([[10.0, 20.0], [np.nan, np.nan], [30.0, 0.0]])
    assert weighted_mean(curves).tolist() == [20.0, 10.0]
    assert weighted_mean(curves, np.array([3.0, 1.0, 1.0])).tolist() == [15.0, 15.0]
    assert weighted_mean(curves, chosen=np.array([False, True, True])).tolist() == [30.0, 0.0]


def test_a_benchmarks_weights_count_in_attributes_and_curves():
    weighted = evaluation(weights=np.array([3.0, 1.0, 1.0, 1.0, 1.0, 1.0])).benchmark
    occlusion = weighted.attributes["Occlusion"]
    assert metric_value(GOOD, "success", weighted, occlusion) == (3 * 60 + 50 + 40) / 5
    curve = evaluation().measures.curves[0]
    assert mean_curve(GOOD, curve, weighted, occlusion)[0] == 1.5 * (3 * 60 + 50 + 40) / 5
    assert metric_value(GOOD, "success", weighted) == GOOD.overall["success"]


def test_ranks_follow_what_is_better_and_put_nothing_last():
    assert ranked([1.0, np.nan, 3.0]) == [2, 0, 1]
    assert ranked([1.0, np.nan, 3.0], higher_is_better=False) == [0, 2, 1]


def test_marks_are_by_what_is_shown_and_by_what_is_better():
    columns = (Column("n", "N"), Column("up", "Up", "", True), Column("down", "Down", "", False))
    rows = (("a", 65.24, 3.0), ("b", 65.16, 1.0), ("c", 60.0, np.nan), ("d", 50.0, 2.0))
    assert rank_marks(Table("T", columns, rows)) == {
        (0, 1): BEST, (1, 1): BEST, (2, 1): SECOND, (1, 2): BEST, (3, 2): SECOND,
    }  # fmt: skip
    assert rank_marks(Table("T", columns, rows[:1])) == {}


def test_the_csv_holds_every_digit_and_names_the_protocol_in_every_row():
    third = tracker("third", [100 / 3] * 6)
    rows = rows_of(csv_text(overall_table(evaluation(third, POOR))))
    assert rows[0] == {
        "benchmark": "Toy", "protocol": "toy", "tracker": "third",
        "success": repr(third.overall["success"]), "precision": repr(third.overall["precision"]), "delay": "",
    }  # fmt: skip
    assert float(rows[0]["success"]) == third.overall["success"]
    assert [row["protocol"] for row in rows] == ["toy", "toy"]


def test_the_csv_of_sequences_has_a_row_for_each_tracker_and_sequence():
    rows = rows_of(csv_text(sequence_table(evaluation())))
    assert len(rows) == 18
    assert {
        "protocol": "toy",
        "tracker": "fair",
        "sequence": "dog-10",
        "success": "",
        "delay": "9.0",
    }.items() <= (rows[11].items())


def test_attributes_that_no_sequence_has_are_left_out_and_the_others_counted():
    sheet = attribute_table(evaluation(), evaluation().measures.metrics[0])
    assert [column.title for column in sheet.columns] == ["Tracker", "Occlusion [3]", "Blur [3]", "Small [3]"]
    assert sheet.rows[1] == ("fair", 44.0, 43.5, 47.5)


def test_side_by_side_has_a_column_a_tracker():
    sheet = side_by_side_table(evaluation(), evaluation().measures.metrics[0])
    assert [column.title for column in sheet.columns] == ["Sequence", "good", "fair", "poor"]
    assert sheet.rows[2] == ("cat-1", 40.0, 30.0, 5.0)


def test_latex_marks_best_and_second_names_the_protocol_and_escapes():
    text = latex_text(overall_table(evaluation(GOOD, FAIR, tracker(NASTY, [1.0] * 6))))
    assert r"good & \textbf{50.0} & \textbf{25.0} & \textbf{2.0} \\" in text
    assert r"fair & \underline{42.4} & \underline{21.2} & \underline{5.6} \\" in text
    assert r"a\_b \& 100\% \$x\$ \{y\} \#1 \textasciitilde{}\textasciicircum{}\textbackslash{}" in text
    assert r"\textless{}i\textgreater{}\textbar{} & 1.0 & 0.5 & -- \\" in text
    assert r"Protocol: toy" in text and r"Delay (frames) $\downarrow$" in text
    assert re.search(r"\\begin\{tabular\}\{lrrr\}\n\\toprule\n.*\n\\midrule\n", text)


@given(st.text(max_size=30))
def test_no_name_can_break_latex(name):
    left = re.sub(r"\\(?:[{}$&#%_]|text\w+\{\})|\$\\downarrow\$", "", latex_escaped(name))
    assert not set(left) & set("\\{}$&#%_~^\n\r")


def test_markdown_marks_best_and_second_and_escapes():
    text = markdown_text(overall_table(evaluation(GOOD, FAIR, tracker("a|b*c<br>\n_d", [1.0] * 6))))
    assert "| good | **50.0** | **25.0** | **2.0** |" in text
    assert "| fair | *42.4* | *21.2* | *5.6* |" in text
    assert r"| a\|b\*c\<br\> \_d | 1.0 | 0.5 | – |" in text
    assert "Protocol: toy." in text


def test_the_terminal_shows_all_columns_that_fit_and_counts_the_others():
    sheet = overall_table(evaluation(GOOD, tracker("[red]\x1b[31m", [1.0] * 6)))
    wide, narrow = printed(sheet, 100, True), printed(sheet, 30, True)
    assert "50.0" in wide and "2.0" in wide and "[red] [31m" in wide and "protocol: toy" in wide
    assert "1 more column in the files: " in narrow or "2 more columns in the files: " in narrow
    assert all(len(line) <= 30 for line in narrow.splitlines()[:5])


def test_a_file_takes_a_table_of_any_width():
    columns = (Column("n", "N"), *(Column(f"c{i}", f"Column {i}") for i in range(30)))
    found = printed(Table("T", columns, (("a", *map(float, range(30))),)), 40, False)
    assert "29.0" in found and "more column" not in found


@pytest.mark.parametrize("width", [80, 120])
def test_a_sweep_of_many_settings_and_figures_is_readable(width):
    """Names, the main figure and whole settings come first; no heading is broken inside a word."""
    keys = [
        f"tracker.{name}_{word}" for name in ("find", "sure", "lost") for word in ("above", "after", "every")
    ]
    figures = ["referral_accuracy", "iou_when_present", "absent_precision", "track_frames_per_second"]
    rows = tuple(
        Row(str(number), dict.fromkeys(keys, 0.5), dict.fromkeys(figures, 0.25)) for number in range(3)
    )
    sheet = run_table(Ablation(rows, tuple(keys), tuple(figures)), ())
    found = printed(sheet, width, True)
    assert all(len(line) <= width for line in found.splitlines() if "more column" not in line)
    head = found.split("─")[0]
    words = [part for line in head.splitlines()[1:] for part in re.findall(r"[^._ ]+", line)]
    assert set(words) <= {part for name in (*keys, *figures) for part in re.split(r"[._]", name)} | {"Run"}
    assert "accuracy" in head and "find_above" in head
    (told,) = [line for line in found.splitlines() if "more column" in line]
    assert "track_frames_per_second" in told and "referral_accuracy" not in told
    assert all(key in csv_text(sheet) for key in (*keys, *figures))
