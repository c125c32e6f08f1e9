"""A run's summary: exact keys for machines, a table that leaves nothing out for people."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from data_prep.console import make_console
from infer.engine.timings import Work
from infer.runs.progress import RunProgress
from infer.runs.summary import Figures, RunSummary, TrackOutcome, write_summary
from infer.runs.summary_table import MAX_LINES, MAX_ROWS, print_table

REASON = "/data/sequences/kitchen/color/00000031.jpg: frame cannot be read (truncated); replace the file"
OUTCOMES = [
    TrackOutcome("kitchen", "the [red] :cup: on the left", 40, 20, 0.875, 3.0, None),
    TrackOutcome("kitchen", "the plate", 0, 60, None, 3.0, None, kept=True),
    TrackOutcome("bedroom", "the \x1b[31mgirl\n", 5, 5, None, 1.0, REASON),
]
KEYS = {"tracks", "written", "failed", "warnings", "zip", "sequences"}
KEYS |= {"track_frames", "seconds", "track_frames_per_second"}
KEYS |= {"questions", "second_looks", "questions_per_frame", "draft_accepted", "prompt_shared"}
KEYS |= {"seconds_by_part", "peak_memory_bytes"}
FIGURES = {"referral_accuracy", "iou_when_present", "absent_precision", "absent_recall"}


def run(**changes: object) -> RunSummary:
    known = {"outcomes": OUTCOMES, "num_planned": 4, "seconds": 2.0, **changes}
    return RunSummary(**known)


def printed(summary: RunSummary, width: int, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=terminal, markup=False, emoji=False, highlight=False
    )
    print_table(summary, {"zip": None, "overlays": Path("/out/a long folder/overlays")}, console)
    return out.getvalue()


def test_the_file_has_these_keys_and_no_others(tmp_path: Path) -> None:
    given = {
        "accuracy": 0.5,
        "iou_when_present": 0.4,
        "absent_precision": None,
        "absent_recall": 0.0,
        "num_pairs": 3,
    }
    figures = Figures.of_sequences({"sequences": {"kitchen": given}})
    write_summary(tmp_path / "summary.json", run(sequences=figures, zip=Path("/r/a.zip"), warnings=["é"]))
    found = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert set(found) == FIGURES | KEYS
    assert found["sequences"] == {
        "kitchen": {
            "referral_accuracy": 0.5,
            "iou_when_present": 0.4,
            "absent_precision": None,
            "absent_recall": 0.0,
        }
    }
    assert all(found[name] is None for name in FIGURES)
    assert (found["tracks"], found["written"], found["zip"], found["warnings"]) == (4, 2, "/r/a.zip", ["é"])
    assert found["failed"] == [{"sequence": "bedroom", "expression": "the \x1b[31mgirl\n", "reason": REASON}]


def test_speed_counts_only_frames_that_were_tracked_and_written() -> None:
    assert run().track_frames == 60 and run().track_frames_per_second == 30.0
    assert run(seconds=0.0).track_frames_per_second == 0.0


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_and_leaves_nothing_out(width: int) -> None:
    text = printed(run(warnings=["mind the gap"]), width)
    free = ("failed:", "warning:", "4 tracks", "overlays")  # lines that a terminal wraps by itself
    assert all(len(line) <= width for line in text.splitlines() if not line.startswith(free))
    assert REASON in text and "warning: mind the gap" in text and "/out/a long folder/overlays" in text
    assert "[red] :cup:" in text and "0.875" in text and "zip" not in text
    assert (
        "1 written, 1 kept from before, 1 failed, 1 not started; 60 track-frames in 2.0 s (30.0 per second)"
        in text
    )


def test_away_from_a_terminal_there_are_no_escape_codes() -> None:
    assert "\x1b" not in printed(run(), 80)
    assert "\x1b[31m" in printed(run(), 80, terminal=True)


def test_stdout_without_a_terminal_is_plain_and_takes_texts_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(run(), {}, make_console())
    text = capsys.readouterr().out
    assert "\x1b" not in text and "[red] :cup:" in text and REASON in text


def test_all_absent_stands_beside_our_figures_where_truth_exists() -> None:
    assert "all absent" not in printed(run(), 80)
    text = printed(
        run(figures=Figures(0.8, 0.7, 0.9, 0.6), references={"all absent": Figures(0.25, 0.0, 0.25, 1.0)}), 80
    )
    ours, absent = (
        line.split()[2:] for line in text.splitlines() if line.startswith(("this run", "all absent"))
    )
    assert ours == ["0.800", "0.700", "0.900", "0.600"] and absent == ["0.250", "0.000", "0.250", "1.000"]


def test_a_large_run_has_a_row_a_sequence_and_still_every_failure() -> None:
    many = OUTCOMES[:1] * MAX_ROWS + [
        TrackOutcome("hall", f"thing {i}", 0, 0, None, 0.0, f"why {i}") for i in range(3)
    ]
    text = printed(run(outcomes=many, num_planned=len(many)), 80)
    assert text.count("kitchen") == 1 and all(f"“thing {i}”: why {i}" in text for i in range(3))


@pytest.mark.parametrize("number", [1, MAX_ROWS + 1])
def test_long_names_and_reasons_do_not_flood_the_terminal(number: int, tmp_path: Path) -> None:
    name = "9" * 60_000
    failed = [TrackOutcome(name, name, 0, 0, None, 0.0, f"{name}: too long") for _ in range(number)]
    summary = run(outcomes=failed, num_planned=number)
    assert len(printed(summary, 80)) < 10_000
    write_summary(tmp_path / "summary.json", summary)
    assert name in (tmp_path / "summary.json").read_text()  # a file holds all of it
    out = io.StringIO()
    with RunProgress(1, 1, Console(file=out, width=80)) as progress:
        progress.sequence(name, 1)
        progress.waiting(name)
    assert len(out.getvalue()) < 1000


def test_a_list_of_a_hundred_thousand_mistakes_does_not_flood_the_terminal() -> None:
    outcomes = [TrackOutcome(f"x{i}", None, 0, 0, None, 0.0, f"x{i}: no such folder") for i in range(5000)]
    warnings = [f"x{i} is listed more than once" for i in range(5000)]
    text = printed(run(outcomes=outcomes, warnings=warnings), 200)
    assert len(text.splitlines()) < 3 * MAX_LINES + 30
    assert text.count("4000 more") == 3 and "x999: no such folder" in text and "x1000: " not in text


def test_progress_without_a_terminal_prints_a_line_a_sequence_and_now_and_then() -> None:
    now = [0.0]
    out = io.StringIO()
    with RunProgress(400, 4, Console(file=out, width=80), clock=lambda: now[0]) as progress:
        for name in ("kitchen", "bedroom"):
            progress.sequence(name, 2)
            for _ in range(100):
                now[0] += 0.15
                progress.advance("x", 2)
            progress.finished(name)
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue() and len(lines) == 5  # two begin, two after 10 s each, the end
    assert [line.strip().split("  ")[1] for line in lines] == ["0/4 tracks"] * 2 + ["2/4 tracks"] * 2 + [
        "4/4 tracks"
    ]
    assert "13.3 track-frames/s" in lines[2] and "0:15 left" in lines[2] and lines[2].endswith("bedroom")
    assert "100%" in lines[-1]


def test_progress_on_a_terminal_shows_a_bar() -> None:
    out = io.StringIO()
    with RunProgress(4, 1, Console(file=out, force_terminal=True, width=100)) as progress:
        progress.sequence("kitchen", 1)
        progress.advance("x", 4)
        progress.finished("kitchen")
    assert "1/1 track" in out.getvalue() and "kitchen" in out.getvalue()


def test_progress_takes_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress(4, 1, make_console()) as progress:
        progress.sequence("[red] :cup:", 1)
    assert "[red] :cup:" in capsys.readouterr().out


def test_shares_are_those_of_all_processes_together() -> None:
    works = (
        Work(num_frames=4, questions=6, draft_tokens=10, accepted_draft_tokens=9, prompt_tokens=30),
        Work(
            num_frames=6,
            questions=9,
            second_looks=2,
            draft_tokens=30,
            accepted_draft_tokens=3,
            prompt_tokens=50,
            shared_tokens=20,
        ),
    )
    figures = (works[0] + works[1]).figures()
    assert (figures.questions, figures.second_looks, figures.questions_per_frame) == (15, 2, 1.5)
    assert (figures.draft_accepted, figures.prompt_shared) == (0.3, 0.2)
    assert Work().figures().prompt_shared is None
