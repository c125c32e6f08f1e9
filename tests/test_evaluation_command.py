"""`python -m evaluation`: scores.json, a table, and faults that are a line each with exit status 1."""

import json
import os

import pytest
from box_miniature import lines, write_toolkit
from dataset_miniature import VIDEOS, write_frames
from matlab_formulas import figures
from test_protocol_tnllt import ten_trackers

from configs.app import run_command
from data_prep.index.build import build_index
from data_prep.readers.reader import reader_of
from evaluation.__main__ import main
from tests.votsr_results_miniature import scored_workspace

pytestmark = pytest.mark.usefixtures("forked_toolkit")


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run the command on the toolkit's folder in `tmp_path`: status, what was printed, and the faults."""
    monkeypatch.chdir(tmp_path)

    def run(*more):
        given = ("protocol=tnllt", "layout=toolkit", "truth=annos", "results=tracking_results", "out=out")
        status = run_command("evaluation", main, "", [*given, *more])
        said = capfd.readouterr()
        return status, said.out, said.err.splitlines()

    return run


@pytest.fixture
def benchmark(tmp_path):
    """Ten trackers with faults that the toolkit mends."""
    truth, flags, trackers = ten_trackers()
    write_toolkit(tmp_path, truth, flags, trackers)
    return truth, flags, trackers


def test_scores_are_the_formulas(run, benchmark, tmp_path):
    truth, flags, trackers = benchmark
    status, out, err = run()
    assert (status, err) == (0, [])
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert set(scores) == set(trackers)
    assert list(scores) == sorted(scores, key=lambda name: -scores[name]["success"])
    for name, results in trackers.items():
        plain = figures(truth, flags, results)
        wanted = [100 * each for each in (plain.success, plain.precision, plain.norm_precision)]
        found = [scores[name][key] for key in ("success", "precision", "norm_precision")]
        assert found == pytest.approx(wanted, abs=1e-10)
    assert "tnllt" in out


def test_three_faults_are_three_lines(run, benchmark, tmp_path):
    truth, _, trackers = benchmark
    folder = tmp_path / "tracking_results" / "t0_tracking_result"
    (folder / "s0.txt").unlink()
    (folder / "s1.txt").write_text("a line of words\n" + lines(trackers["t0"][1][1:]))
    (folder / "extra.txt").write_text(lines(truth[0]))
    status, out, err = run()
    assert status == 1
    assert len(err) == 3
    assert all(line.startswith("error: ") for line in err)
    assert any("s0.txt: no such file" in line for line in err)
    assert any("s1.txt: line 1 is no box" in line for line in err)
    assert any("extra.txt: the ground truth has no such sequence" in line for line in err)
    assert not (tmp_path / "out" / "scores.json").exists()
    status, out, err = run("missing=count")
    assert (status, err) == (0, [])
    assert out.count("counted as missed") == 2
    assert "extra.txt" in out


def test_a_name_that_is_not_utf8_is_refused_unless_it_is_left_out(run, benchmark, tmp_path):
    """Neither the scores nor a report could hold it."""
    folder = tmp_path / "tracking_results"
    (folder / "t0_tracking_result").rename(folder / os.fsdecode(b"b\xe9"))
    status, _, err = run()
    assert (status, len(err)) == (1, 1)
    assert err[0].endswith(r"tracking_results/b\xe9: the name is not UTF-8; rename it")
    assert run("trackers=[t1,t2]")[0] == 0
    unknown = folder / "t1_tracking_result" / os.fsdecode(b"\xe9.txt")
    unknown.write_text("")
    assert run("trackers=[t1,t2]", "missing=count")[0] == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert r"\xe9.txt: the ground truth has no such sequence" in page
    unknown.unlink()
    (tmp_path / "annos" / os.fsdecode(b"s\xe9.txt")).write_text("1,1,2,2\n")
    assert r"annos/s\xe9: the name is not UTF-8" in run("trackers=[t1,t2]")[2][0]


def test_figures_there_are_none_of_are_null(run, tmp_path):
    truth = [[[5.0, 5.0, 9.0, 9.0]] * 2]
    write_toolkit(tmp_path, truth, [[1, 0]], {"ours": truth})
    assert run()[0] == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["ours"]
    assert scores["absent_precision"] is None
    assert scores["absent_recall"] == 0


def test_nothing_of_an_earlier_report_is_left(run, benchmark, tmp_path):
    assert run()[0] == 0
    assert (tmp_path / "out" / "comparison.csv").is_file()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    assert run("protocol=otb", "trackers=[t0]")[0] == 0
    left = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {"mine.txt", "table.csv", "success.png", "report.html"} <= left
    assert not any(name.startswith(("comparison", "norm_precision")) for name in left)


def test_keys_that_cannot_be_are_refused(run, benchmark):
    for key, words in (
        ("protocol=tnlt", "did you mean tnllt?"),
        ("missing=skip", "must be one of error, count"),
        ("compare=[a]", "name two trackers"),
        ("task=ablation", "runs=DIR"),
    ):
        status, _, err = run(key)
        assert status == 1
        assert words in err[0]


def test_a_data_set_by_index_with_images_of_its_frames(run, tmp_path):
    for video in VIDEOS:
        folder = tmp_path / "set" / video.name
        write_frames(folder / "imgs", video, "{:05d}.png")
        (folder / "groundtruth.txt").write_text(video.lines())
        (folder / "language.txt").write_text(video.prompt)
        flags = "".join(f"{int(box is not None)}\n" for box in video.boxes_xywh)
        (folder / "absent_label.txt").write_text(flags)
        for tracker, text in (("ours", video.lines()), ("theirs", "1,1,2,2\n" * len(video.boxes_xywh))):
            results = tmp_path / "results" / "tnllt-all" / tracker
            results.mkdir(parents=True, exist_ok=True)
            (results / f"{video.name}.txt").write_text(text)
    build_index(reader_of("tnllt", "all"), tmp_path / "set", "all", tmp_path / "indexes", workers=1)
    status, out, err = run(
        "layout=data", "data=tnllt", "split=all", "truth=''", "indexes=indexes", "results=results"
    )
    assert (status, err) == (0, [])
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert list(scores) == ["ours", "theirs"]
    assert scores["ours"]["absent_recall"] == 100
    page = (tmp_path / "out" / "report.html").read_text()
    assert "car-1, frame" in page
    assert "ours" in out


def test_a_protocol_says_which_layouts_it_reads(run, benchmark):
    for keys, words in (
        (("protocol=votsr",), "protocol=votsr reads votsr"),
        (("layout=votsr",), "a workspace is scored with protocol=votsr"),
        (("protocol=davis", "data=tnllt", "split=all"), "has no masks; protocol=davis takes mevis"),
        (("sequences=nolist.txt",), "sequences=nolist.txt: no such file"),
        (("data=tnllt", "sequences=list.txt"), "with data= all sequences of a split are scored"),
        (("protocol=davis",), "needs the data set"),
        (("protocol=davis", "data=refdavis", "split=val"), "protocol=davis reads expressions"),
    ):
        status, _, err = run(*keys)
        assert status == 1
        assert words in err[0]


def test_a_workspace_by_its_own_protocol(run, tmp_path):
    scored_workspace(tmp_path / "workspace")
    status, out, err = run("protocol=votsr", "layout=votsr", "truth=workspace", "results=''")
    assert (status, err) == (0, [])
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert next(iter(scores)) == "Other"  # it is perfect
    assert "votsr" in out
    assert "frame" in (tmp_path / "out" / "report.html").read_text()
