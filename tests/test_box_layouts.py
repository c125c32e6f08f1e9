"""Truth and results in every layout; every fault is a line that names its file."""

from functools import partial

import numpy as np
import pytest
from box_miniature import lines, write_toolkit
from dataset_miniature import VIDEOS, write_frames
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import UserError
from data_prep.index.build import build_index
from evaluation.boxes.evaluation import evaluate_boxes
from evaluation.config import EvaluationSettings
from evaluation.layouts import indexed
from evaluation.layouts.annos import read_annos
from evaluation.layouts.indexed import as_written, read_indexed
from evaluation.protocols import got10k, pytracking
from evaluation.protocols.matlab_toolkits import OTB, TNLLT

BOX, FAR, NONE = [10.0, 10.0, 20.0, 20.0], [80.0, 80.0, 20.0, 20.0], [0.0, 0.0, 0.0, 0.0]
TRUTH = [[BOX, BOX, NONE], [BOX, BOX]]
FLAGS = [[1, 1, 0], [1, 1]]


@pytest.fixture
def toolkit(tmp_path):
    """A toolkit's folder with a tracker that is right throughout, and one that is far off."""
    off = [[BOX, FAR, FAR], [BOX, FAR]]
    write_toolkit(tmp_path, TRUTH, FLAGS, {"good": TRUTH, "off": off})
    return tmp_path


def scored(root, protocol=TNLLT, **more):
    given = {"truth": str(root / "annos"), "results": str(root / "tracking_results"), **more}
    return evaluate_boxes(protocol, EvaluationSettings(**given))


def figures(scores):
    """Those there are: NaN equals nothing."""
    return {key: value for key, value in scores.overall.items() if not np.isnan(value)}


def faults(root, protocol=TNLLT, **more):
    with pytest.raises(UserError) as told:
        scored(root, protocol, **more)
    return str(told.value).splitlines()


def test_a_toolkits_folders(toolkit):
    found = scored(toolkit)
    assert [each.tracker for each in found.trackers] == ["good", "off"]
    assert found.benchmark.name == toolkit.name
    assert found.benchmark.sequences == ("s0", "s1")
    assert found.benchmark.starts.tolist() == [0, 3, 5]
    assert found.notes == ()
    good, off = found.trackers
    assert good.overall["precision"] == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert off.overall["precision"] == pytest.approx(100 * (1 / 3 + 1 / 2) / 2)
    assert good.overall["absent_recall"] == 100
    assert off.overall["absent_recall"] == 0
    assert {metric.key for metric in found.measures.metrics} == set(good.overall)


def test_a_nested_annos_is_found_from_any_folder(toolkit):
    plain = figures(scored(toolkit).trackers[0])
    (toolkit / "annos").rename(toolkit / "inner")
    (toolkit / "annos").mkdir()
    (toolkit / "inner").rename(toolkit / "annos" / "annos")
    for truth in (toolkit, toolkit / "annos", toolkit / "annos" / "annos"):
        found = scored(toolkit, truth=str(truth), results=str(toolkit))
        assert figures(found.trackers[0]) == plain
        assert found.benchmark.name == toolkit.name


def test_tnl2ks_folders(toolkit):
    annos = toolkit / "annos"
    (annos / "gt_rect").mkdir()
    for path in annos.glob("*.txt"):
        path.rename(annos / "gt_rect" / path.name)
    (annos / "att").mkdir()
    for number in range(2):
        (annos / "att" / f"s{number}_attribute.txt").write_text(f"{number}," + "0," * 15 + "1\n")
    (toolkit / "tracking_results" / "off_tracking_result").rename(toolkit / "tracking_results" / "off")
    found = scored(toolkit)
    assert [each.tracker for each in found.trackers] == ["good", "off"]
    assert found.benchmark.attributes["Camera motion"].tolist() == [False, True]
    assert found.benchmark.attributes["Modality switch"].tolist() == [True, True]
    assert len(found.benchmark.attributes) == 17


def test_separators_are_one_a_file_and_a_list_chooses_sequences(toolkit):
    folder = toolkit / "tracking_results" / "good_tracking_result"
    plain = figures(scored(toolkit).trackers[0])
    (folder / "s0.txt").write_text(lines(TRUTH[0], "\t"))
    (folder / "s1.txt").write_text(lines(TRUTH[1], " ").replace(" ", "  "))
    assert figures(scored(toolkit).trackers[0]) == plain
    (toolkit / "list.txt").write_text("s1")
    found = scored(toolkit, sequences=str(toolkit / "list.txt"))
    assert found.benchmark.sequences == ("s1",)
    assert found.trackers[0].overall["precision"] == pytest.approx(100)
    (toolkit / "list.txt").write_text("s1\ns9\n")
    assert faults(toolkit, sequences=str(toolkit / "list.txt")) == [
        f"{toolkit / 'list.txt'}: names s9, of which {toolkit / 'annos'} has no ground truth; remove it"
    ]


def test_all_faults_are_told_together(toolkit):
    results = toolkit / "tracking_results"
    (results / "good_tracking_result" / "s1.txt").unlink()
    (results / "good_tracking_result" / "s00.txt").write_text("1,2,3,4\n")
    (results / "good_tracking_result" / "s0_time.txt").write_text("0.1\n")
    (results / "off_tracking_result" / "s0.txt").write_text("1,2,3,4\nno words\n1,2,3,4\n")
    (results / "off_tracking_result" / "s1.txt").write_text("1,2,3,4\n")
    told = faults(toolkit)
    good, off = results / "good_tracking_result", results / "off_tracking_result"
    assert [line.split(";")[0] for line in told] == [
        f"{good}/s00.txt: the ground truth has no such sequence",
        f"{good}/s1.txt: no such file",
        f"{off}/s0.txt: line 2 is no box of four numbers ('no words')",
        f"{off}/s1.txt: ends at line 1, but the ground truth has 2 frames",
    ]


def test_counted_faults_are_missed_frames(toolkit):
    results = toolkit / "tracking_results"
    good = results / "good_tracking_result"
    (good / "s1.txt").unlink()
    (good / "other.txt").write_text("1,2,3,4\n")
    (good / "s0.txt").write_text("10,10,20,20\nno words\n")
    found = scored(toolkit, missing="count", trackers=["good"])
    (scores,) = found.trackers
    assert scores.by_sequence["precision"].tolist() == pytest.approx([100 / 3, 0])
    assert scores.overall["precision"] == pytest.approx(100 / 6)  # a missing sequence is not left out
    assert np.isnan(scores.frame_overlap).tolist() == [False, True, True, True, True]
    assert np.isnan(scores.overall["absent_recall"])  # the one absent frame is missing
    assert sorted(note.rpartition(";")[2] for note in found.notes) == [
        " counted as missed",
        " counted as missed",
        " counted as missed",
        " it is not scored",
    ]


@pytest.mark.parametrize("beyond", [b"not read\n", b"\xff\xfe\n"])
def test_lines_too_many_are_cut_and_noted(toolkit, beyond):
    path = toolkit / "tracking_results" / "good_tracking_result" / "s1.txt"
    plain = figures(scored(toolkit).trackers[0])
    path.write_bytes(lines([*TRUTH[1], FAR]).encode() + beyond)
    found = scored(toolkit)
    assert figures(found.trackers[0]) == plain
    assert found.notes == (f"{path}: 4 lines for 2 frames; the rest is cut",)


def test_nan_is_a_fault_only_where_the_protocol_takes_none(toolkit):
    path = toolkit / "tracking_results" / "good_tracking_result" / "s1.txt"
    path.write_text("10,10,20,20\nNaN,NaN,NaN,NaN\n")
    found = scored(toolkit)
    assert found.trackers[0].by_sequence["precision"][1] == pytest.approx(100)
    (note,) = found.notes
    assert note.startswith(f"{path}: line 2: 1 box of this tracker with NaN")
    assert faults(toolkit, pytracking.PROTOCOL)[0].startswith(f"{path}: line 2 has NaN")
    counted = scored(toolkit, pytracking.PROTOCOL, missing="count", trackers=["good"])
    assert counted.trackers[0].by_sequence["precision"][1] == 50


def test_pytrackings_and_sutracks_folders(toolkit):
    plain = {each.tracker: figures(each) for each in scored(toolkit).trackers}
    root = toolkit / "results"
    for place in ("dimp/dimp50_000", "dimp/dimp50_001", "ostrack/base"):
        (root / place).mkdir(parents=True)
    for number in range(2):
        (root / "ostrack/base" / f"s{number}_time.txt").write_text("0.5\n")
        for place, name in (
            ("dimp/dimp50_000", "good"),
            ("dimp/dimp50_001", "off"),
            ("ostrack/base", "good"),
        ):
            source = toolkit / "tracking_results" / f"{name}_tracking_result" / f"s{number}.txt"
            (root / place / f"s{number}.txt").write_bytes(source.read_bytes())
    found = scored(toolkit, layout="pytracking", results=str(root))
    assert {each.tracker: figures(each) for each in found.trackers} == {
        "dimp_dimp50_000": plain["good"],
        "dimp_dimp50_001": plain["off"],
        "ostrack_base": plain["good"],
    }
    for data in ("tnl2k", "lasot"):
        (root / "sutrack" / "b224" / data).mkdir(parents=True)
    for path in (root / "ostrack" / "base").iterdir():
        (root / "sutrack" / "b224" / "tnl2k" / path.name).write_bytes(path.read_bytes())
    (root / "sutrack" / "b224" / "lasot" / "zebra.txt").write_text("1\t2\t3\t4\n")
    found = scored(toolkit, layout="sutrack", results=str(root), trackers=["sutrack_b224", "dimp_dimp50_001"])
    assert {each.tracker: figures(each) for each in found.trackers} == {
        "sutrack_b224": plain["good"],
        "dimp_dimp50_001": plain["off"],
    }


def test_one_trackers_own_folder_is_enough(toolkit):
    results = toolkit / "tracking_results" / "good_tracking_result"
    assert [each.tracker for each in scored(toolkit, results=str(results)).trackers] == ["good"]


def test_unknown_trackers_layouts_and_folders_are_told(toolkit):
    assert "did you mean good?" in faults(toolkit, trackers=["god"])[0]
    assert "layout=votsr: protocol=tnllt reads toolkit" in faults(toolkit, layout="votsr")[0]
    assert "no such folder" in faults(toolkit, results=str(toolkit / "no"))[0]
    assert "no such folder" in faults(toolkit, truth=str(toolkit / "no"))[0]
    assert "holds no results" in faults(toolkit, layout="pytracking")[0]
    assert "truth=DIR" in faults(toolkit, truth="")[0]
    assert "results=DIR" in faults(toolkit, results="")[0]


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("s0.txt", "1,2,3,4\nx\n", "s0.txt: line 2 is no box"),
        ("s0.txt", "", "s0.txt: holds no boxes"),
        ("absent/s0.txt", None, "absent/s0.txt: no such file"),
        ("absent/s0.txt", "0\n-1\n", "absent/s0.txt: line 2: -1 is neither 0 nor 1; restore it"),
        ("absent/s0.txt", "0,2\n", "absent/s0.txt: contains something other than flags from 0 to 1"),
        ("absent/s0.txt", "one\n", "absent/s0.txt: contains something other than flags"),
    ],
)
def test_faults_of_the_truth(toolkit, path, text, words):
    file = toolkit / "annos" / path
    file.unlink() if text is None else file.write_text(text)
    (told,) = faults(toolkit)
    assert words in told


@pytest.mark.parametrize("box", ["inf,1,2,2", "1,1,nan,2", "1,1,-2,2"])
def test_boxes_of_the_truth_that_are_none_are_noted(toolkit, box):
    path = toolkit / "annos" / "s1.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], box, *lines[2:]]) + "\n")
    _, notes = read_annos(toolkit / "annos", absent_flag=0)
    assert "s1.txt: line 2: 1 box of the truth with NaN, infinity or negative sides" in notes[0]
    path.write_text("\n".join([lines[0], "nan,nan,nan,nan", *lines[2:]]) + "\n")
    assert not read_annos(toolkit / "annos", absent_flag=0)[1]


def test_flags_of_another_benchmark_are_noted(toolkit):
    annos = toolkit / "annos"
    truth, notes = read_annos(annos, absent_flag=1)
    assert truth.absent.tolist() == [True, True, False, True, True]
    assert "check that protocol= is the one of this benchmark" in notes[0]
    truth, notes = read_annos(annos)
    assert truth.absent.tolist() == [False, False, True, False, False]
    assert "0 is taken for absent" in notes[0]
    (annos / "absent" / "s0.txt").write_text("1,1\n")
    truth, notes = read_annos(annos, absent_flag=0)
    assert truth.absent.tolist() == [False] * 5
    assert "2 flags for 3 frames" in notes[0]


def test_a_sequence_that_is_absent_throughout_is_noted(toolkit):
    """Its flags may mean something else; the first frames of the others agree with the protocol."""
    annos = toolkit / "annos"
    _, before = read_annos(annos, absent_flag=0)
    (annos / "absent" / "s1.txt").write_text("0\n" * len((annos / "s1.txt").read_text().splitlines()))
    _, notes = read_annos(annos, absent_flag=0)
    assert [
        note for note in notes if "every frame of 1 sequence is flagged as absent, the first is s1" in note
    ]
    assert not [note for note in before if "every frame" in note]


def test_a_protocol_without_flags_needs_none(toolkit):
    for path in (toolkit / "annos" / "absent").iterdir():
        path.unlink()
    (toolkit / "annos" / "absent").rmdir()
    assert scored(toolkit, OTB).trackers[0].overall["absent_recall"] == 100
    assert "needs the flags of absence" in faults(toolkit)[0]


def test_the_truth_of_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(indexed, "build_index", partial(build_index, workers=1))
    root, indexes = tmp_path / "set", tmp_path / "indexes"
    for video in VIDEOS:
        write_frames(root / video.name / "imgs", video, "{:05d}.png")
        (root / video.name / "groundtruth.txt").write_text(video.lines())
        (root / video.name / "language.txt").write_text(video.prompt)
        flags = "".join(f"{int(box is not None)}\n" for box in video.boxes_xywh)
        (root / video.name / "absent_label.txt").write_text(flags)
        (tmp_path / "results" / "ours").mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / "ours" / f"{video.name}.txt").write_text(video.lines())
    with pytest.raises(UserError, match="no such index"):
        read_indexed("tnllt", "all", indexes)
    fresh, _ = read_indexed("tnllt", "all", indexes, root)
    more = {"layout": "data", "data": "tnllt", "split": "all", "indexes": str(indexes), "truth": ""}
    found = evaluate_boxes(got10k.PROTOCOL, EvaluationSettings(results=str(tmp_path / "results"), **more))
    assert found.trackers[0].overall["ao"] == pytest.approx(100)
    assert found.trackers[0].overall["absent_recall"] == 100
    assert found.benchmark.name == "tnllt all"
    assert set(found.benchmark.sequences) == {video.name for video in VIDEOS}
    truth, _ = read_indexed("tnllt", "all", indexes)
    assert truth.sizes.tolist() == [[32, 24]] * 2
    assert np.array_equal(fresh.boxes_xywh, truth.boxes_xywh)


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 99)), min_size=1, max_size=9))
def test_numbers_of_an_index_are_those_that_were_written(numbers):
    texts = [f"{whole}.{part:02d}" for whole, part in numbers]
    kept = np.array([float(text) for text in texts] + [np.nan], np.float32).reshape(1, -1)
    assert as_written(kept)[0, :-1].tolist() == [float(text) for text in texts]
    assert np.isnan(as_written(kept)[0, -1])
