"""Protocol votsr: the toolkit's number, the figures beside it, several trackers, and what is missing."""

import os

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.votsr.regions import decode_truth
from data_prep.votsr.results import result_path
from evaluation.masks.referral_evaluation import evaluate_workspace
from evaluation.votsr import referral_figures
from tests.votsr_miniature import PROMPTS, SIZE, TRACKER, add_results, add_truth, disc, make_workspace
from tests.votsr_results_miniature import OTHER, add_other, scored_workspace

pytestmark = pytest.mark.usefixtures("forked_toolkit")


@pytest.fixture
def root(tmp_path):
    return scored_workspace(tmp_path / "w")


def test_equal_to_vot_analysis_and_the_figures_of_infer(root):
    told = evaluate_workspace(root)
    assert told.benchmark.sequences == ("ball", "kite")
    assert told.benchmark.weights.tolist() == [6, 15]
    assert [each.tracker for each in told.trackers] == [OTHER, TRACKER]
    perfect, mine = told.trackers
    for each in told.trackers:
        assert set(each.overall) == set(each.by_sequence) == {metric.key for metric in told.measures.metrics}
        assert each.overall["region_similarity"] == pytest.approx(each.overall["vot_analysis"], abs=1e-9)
        np.testing.assert_allclose(
            each.by_sequence["region_similarity"], each.by_sequence["vot_analysis"], atol=1e-9
        )
    assert told.notes == ()
    assert perfect.overall["region_similarity"] == perfect.overall["redetected"] == 100
    assert perfect.overall["redetection"] == 0
    figures = referral_figures(root, TRACKER)
    pairs = {
        "iou_present": "iou_when_present",
        "absent_precision": "absent_precision",
        "absent_recall": "absent_recall",
    }
    for key, name in pairs.items():
        assert mine.overall[key] == pytest.approx(100 * figures[name])
        each = [100 * part[name] for part in figures["sequences"].values()]
        np.testing.assert_allclose(mine.by_sequence[key], each)
    assert 5 < mine.overall["region_similarity"] < 95


def test_overlaps_and_curves_are_those_of_the_pairs(root):
    told = evaluate_workspace(root, [TRACKER], with_toolkit=False)
    (mine,), starts = told.trackers, told.benchmark.starts
    assert "vot_analysis" not in {metric.key for metric in told.measures.metrics}
    assert starts.tolist() == [0, 2 * 6, 2 * 6 + 2 * 15] and mine.frame_overlap.shape == (42,)
    for number, count in enumerate((6, 15)):
        part = mine.frame_overlap[starts[number] : starts[number + 1]].reshape(2, count)
        assert np.isnan(part[:, 1::3]).all() and not np.isnan(np.delete(part, np.s_[1::3], 1)).any()
        scores = part[~np.isnan(part)]
        assert 100 * scores.mean() == pytest.approx(mine.by_sequence["region_similarity"][number], rel=1e-6)
        curve = mine.curves["success"][number]
        assert curve[0] == pytest.approx(100 * (scores > 0).mean()) and curve[-1] == 0
        assert curve[10] == pytest.approx(100 * (scores > 0.5).mean())


def test_time_passes_in_frames_that_nobody_annotated(tmp_path):
    """Back in frame 6, which one prompt finds at once and the other in frame 9, the next annotated one."""
    root = make_workspace(tmp_path, ["ball"], num_frames=12)
    ball = disc(30, 20, 9)
    truth = [ball] * 3 + [None] * 3 + [ball] * 6
    add_truth(root / "sequences" / "ball", truth, [at % 3 == 0 for at in range(12)])
    add_results(root, "ball", truth, PROMPTS[:1])
    add_results(root, "ball", [ball] + [None] * 8 + [ball] * 3, PROMPTS[1:])
    (mine,) = evaluate_workspace(root, with_toolkit=False).trackers
    assert (mine.overall["redetected"], mine.overall["redetection"]) == (100, 1.5)
    assert mine.overall["absent_precision"] == pytest.approx(100 * 2 / 3)


def test_what_is_missing_is_told_or_counted(root):
    add_other(root, "ball", [None] * 6, PROMPTS[:1])
    gone, short = (result_path(root, TRACKER, name, PROMPTS[0]) for name in ("ball", "kite"))
    gone.unlink()
    short.write_text("0\n" * 14)
    with pytest.raises(UserError) as fault:
        evaluate_workspace(root)
    told = str(fault.value).splitlines()
    assert len(told) == 2
    assert str(gone) in told[0] and "no such result" in told[0]
    assert str(short) in told[1] and "14 lines for 15 frames" in told[1]
    counted = evaluate_workspace(root, [TRACKER], missing="count")
    (mine,) = counted.trackers
    assert np.isnan(mine.overall["vot_analysis"]) and "vot analysis was not run" in counted.notes[-1]
    assert len(counted.notes) == 3
    first = mine.frame_overlap[:6]
    assert (first[~np.isnan(first)] == 0).all(), "a missing result is no absence told"


def test_long_results_are_cut_and_noted(root):
    path = result_path(root, TRACKER, "ball", PROMPTS[0])
    before = evaluate_workspace(root, [TRACKER], with_toolkit=False)
    path.write_text(path.read_text() + "0\n0\n")
    after = evaluate_workspace(root, [TRACKER])
    assert after.trackers[0].overall["region_similarity"] == before.trackers[0].overall["region_similarity"]
    assert "8 lines for 6 frames; the rest is cut" in after.notes[0]


def test_the_name_of_a_tracker_that_is_not_utf8_is_refused_unless_it_is_left_out(root):
    (root / "results" / os.fsdecode(b"b\xe9") / "baseline").mkdir(parents=True)
    with pytest.raises(UserError, match=r"results/b\\xe9: the name is not UTF-8; rename it"):
        evaluate_workspace(root, with_toolkit=False)
    assert len(evaluate_workspace(root, [TRACKER], with_toolkit=False).trackers) == 1


def test_a_tracker_without_results_and_a_workspace_without_truth(root, tmp_path):
    with pytest.raises(UserError, match=f"no tracker 'Nobody', but {TRACKER}, {OTHER}"):
        evaluate_workspace(root, ["Nobody"])
    with pytest.raises(UserError, match="no sequence has an annotated frame"):
        evaluate_workspace(make_workspace(tmp_path / "blind"))
    bare = make_workspace(tmp_path / "bare", ["ball"])
    add_truth(bare / "sequences" / "ball", [None] * 4, [True] * 4)
    with pytest.raises(UserError, match=r"results: holds no <tracker>/baseline"):
        evaluate_workspace(bare)


SHAPES = {
    "ball": ["10,10,20,16", "0,0,0,0", "0", "40.5,30,20,30"],
    "kite": ["10,10,30,10,30,26,10,26", "nan,nan,nan,nan,nan,nan", "0", "5,5,25,8,12,30"],
}


def test_truth_of_rectangles_and_polygons_is_scored_and_said(tmp_path):
    """As filled masks, by us and by the toolkit; it would pass them over in the user's own workspace."""
    root = make_workspace(tmp_path)
    masks = [disc(20, 18, 9), None, None, disc(20, 18, 9)]
    for name, lines in SHAPES.items():
        (root / "sequences" / name / "groundtruth.txt").write_text("\n".join(lines) + "\n")
        add_results(root, name, masks)
    told = evaluate_workspace(root)
    (mine,) = told.trackers
    for number, lines in enumerate(SHAPES.values()):
        scores = []
        for line, found in zip(lines, masks, strict=True):
            truth = decode_truth(line, SIZE)
            if truth is not None:
                said = np.zeros_like(truth) if found is None else found
                both = (truth | said).sum()
                scores.append((truth & said).sum() / both if both else 1.0)
        assert mine.by_sequence["region_similarity"][number] == pytest.approx(100 * np.mean(scores))
    np.testing.assert_allclose(mine.by_sequence["vot_analysis"], mine.by_sequence["region_similarity"])
    ball, kite = told.notes
    assert "ball/groundtruth.txt: line 1 is a rectangle or polygon (3 in all)" in ball
    assert "kite/groundtruth.txt: line 1 is" in kite
    assert referral_figures(root, TRACKER)["notes"] == list(told.notes)


def test_results_that_are_rectangles_count_as_absence_and_that_is_said(root):
    path = result_path(root, TRACKER, "ball", PROMPTS[0])
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["0", *lines[1:]]) + "\n")
    empty = evaluate_workspace(root, [TRACKER], with_toolkit=False)
    path.write_text("\n".join(["10,10,20,20", *lines[1:]]) + "\n")
    box = evaluate_workspace(root, [TRACKER], with_toolkit=False)
    assert box.trackers[0].overall == pytest.approx(empty.trackers[0].overall, nan_ok=True)
    (note,) = box.notes
    assert note.startswith(f"{path}: line 1 is a rectangle or polygon (1 in all); they count as absence")
