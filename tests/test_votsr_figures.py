"""Figures: ours equal the toolkit's, and the toolkit's are those of its own command run by hand."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.votsr.regions import encode_mask
from data_prep.votsr.results import result_path, write_result
from data_prep.votsr.textfiles import NOT_ANNOTATED, write_sequence, write_workspace
from data_prep.votsr.toolkit import ensure_tracker
from data_prep.votsr.truth import read_truth
from data_prep.votsr.workspace import read_workspace
from evaluation.votsr import STACK, all_absent_row, referral_figures, toolkit_accuracy, true_boxes_row
from tests.votsr_miniature import (
    PROMPTS,
    TRACKER,
    add_results,
    add_sequence,
    add_truth,
    disc,
    make_workspace,
    snapshot,
)

pytestmark = pytest.mark.usefixtures("forked_toolkit")


def by_hand(root):
    """`vot analysis` as a user runs it on a workspace with a stack that lists the analyses."""
    (root / "stack.yaml").write_text(STACK)
    write_workspace(root, (root / "sequences" / "list.txt").read_text().split(), "./stack.yaml")
    command = [sys.executable, "-m", "vot", "analysis", "--workspace", str(root), "--name", "hand", TRACKER]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    report = json.loads((root / "analysis" / "hand.json").read_text())
    average, parts = report["results"]["baseline"]["results"]
    return average[0][0], {name: part[0] for name, part in zip(report["sequences"], parts, strict=True)}


def random_masks(seed, count):
    """Discs of all sizes, some one pixel wide, some outside the frame; one in four is absent."""
    random = np.random.default_rng(seed)
    shapes = [disc(*random.uniform(-5, 65, 2), random.choice([0.5, 4, 12, 30])) for _ in range(count)]
    return [None if random.random() < 0.25 else shape for shape in shapes]


@pytest.fixture
def root(tmp_path):
    """Two sequences of different length: gaps in the annotation, empty truths, an ignore mask in one.

    The truth of the first is longer than its frames, that of the second shorter, and a line is a box.
    """
    root = make_workspace(tmp_path / "w", ["ball"], num_frames=6)
    add_sequence(root, "kite", 12)
    write_workspace(root, ["ball", "kite"])
    known = [True, False, True, True, False, True]
    add_truth(
        root / "sequences" / "ball",
        [disc(20, 20, 8), None, None, disc(8, 9, 4), None, disc(3, 3, 1)],
        known,
        True,
    )
    add_truth(root / "sequences" / "kite", random_masks(1, 10), [number % 3 != 1 for number in range(10)])
    with (root / "sequences" / "ball" / "groundtruth_object1.txt").open("a") as lines:
        lines.write(f"{encode_mask(disc(30, 30, 5))}\n1,2,3,4\n1\nm0,0,64,48,3072\n")
    for number, prompt in enumerate(PROMPTS):
        add_results(root, "ball", random_masks(10 + number, 6), [prompt])
        add_results(root, "kite", random_masks(20 + number, 12), [prompt])
    return root


@pytest.mark.toolkit_process
def test_equal_to_the_toolkit_run_by_hand(root):
    before = snapshot(root)
    ours = referral_figures(root, TRACKER)
    theirs = toolkit_accuracy(root, TRACKER)
    assert snapshot(root) == before
    accuracy, sequences = by_hand(root)
    assert theirs["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert theirs["sequences"] == pytest.approx(sequences, abs=1e-12)
    (note,) = [each for each in ours["notes"] if "rectangle" in each]
    assert "groundtruth_object1.txt: line 8 is a rectangle or polygon (1 in all) beside masks" in note
    assert (theirs["toolkit"], theirs["without_truth"], theirs["problems"]) == ("0.9.0", [], [])
    assert ours["accuracy"] == pytest.approx(accuracy, abs=1e-9)
    assert {name: each["accuracy"] for name, each in ours["sequences"].items()} == pytest.approx(
        sequences, abs=1e-9
    )
    assert 0.05 < accuracy < 0.95
    check_sums(ours)
    check_no_stale_figures(root, accuracy)


def check_sums(figures):
    """The parts add up: prompts to sequences, sequences to all."""
    for whole, parts in [
        (figures, figures["sequences"]),
        *((each, each["prompts"]) for each in figures["sequences"].values()),
    ]:
        for count in ("num_pairs", "num_present", "num_absent", "num_said_absent", "num_absent_right"):
            assert whole[count] == sum(part[count] for part in parts.values())
    assert figures["num_pairs"] == figures["num_present"] + figures["num_absent"]
    right = figures["num_absent_right"] + figures["iou_when_present"] * figures["num_present"]
    assert figures["pair_accuracy"] == pytest.approx(right / figures["num_pairs"])
    assert figures["sequences"]["ball"]["num_pairs"] == 2 * 6
    json.dumps(figures)


def check_no_stale_figures(root, old):
    """By hand the toolkit hands out its cached figure once results have changed; ours does not."""
    for prompt in PROMPTS:
        add_results(root, "ball", [None] * 6, [prompt])
        add_results(root, "kite", [None] * 12, [prompt])
    assert by_hand(root)[0] == old
    fresh = toolkit_accuracy(root, TRACKER)["accuracy"]
    assert fresh == pytest.approx(all_absent_row(root)["accuracy"], abs=1e-9)
    assert fresh != pytest.approx(old, abs=1e-3)


def test_figures_of_a_known_case(tmp_path):
    """Four annotated frames: half right, right, absent and said so, absent and not said so."""
    root = make_workspace(tmp_path, ["ball"], num_frames=6)
    square, half = np.zeros((48, 64), bool), np.zeros((48, 64), bool)
    square[10:20, 20:40] = half[10:20, 20:30] = True
    known = [True, True, True, True, False, True]
    add_truth(root / "sequences" / "ball", [square, square, None, None, None, square], known)
    add_results(root, "ball", [half, square, None, square, square, None], PROMPTS[:1])
    add_results(root, "ball", [None] * 6, PROMPTS[1:])
    figures = referral_figures(root, TRACKER)
    first, second = figures["sequences"]["ball"]["prompts"].values()
    assert first == {
        "accuracy": pytest.approx(2.5 / 5),
        "iou_when_present": pytest.approx(1.5 / 3),
        "absent_precision": pytest.approx(1 / 2),
        "absent_recall": pytest.approx(1 / 2),
        "num_pairs": 5,
        "num_present": 3,
        "num_absent": 2,
        "num_said_absent": 2,
        "num_absent_right": 1,
    }
    assert (second["absent_precision"], second["absent_recall"]) == (pytest.approx(2 / 5), 1.0)
    assert figures["absent_precision"] == pytest.approx(3 / 7)
    absent = all_absent_row(root)
    assert absent["sequences"]["ball"]["prompts"][PROMPTS[0]] == second
    assert (absent["accuracy"], absent["iou_when_present"]) == (pytest.approx(2 / 5), 0.0)


def test_true_boxes_filled_are_right_about_absence_and_as_good_as_a_box_can_be(tmp_path):
    root = make_workspace(tmp_path, ["ball"], num_frames=3)
    shape = disc(30, 20, 9)
    add_truth(root / "sequences" / "ball", [shape, None, shape], [True, True, True])
    box = np.zeros_like(shape)
    box[np.ix_(shape.any(1), shape.any(0))] = True
    figures = true_boxes_row(root)
    assert figures["iou_when_present"] == pytest.approx(shape.sum() / box.sum())
    assert (figures["absent_precision"], figures["absent_recall"]) == (1.0, 1.0)
    assert not (root / "results").exists()


def test_only_what_the_ignore_mask_leaves_counts(tmp_path):
    """A target and a result that lie in ignored pixels alone are both absent."""
    root = make_workspace(tmp_path, ["ball"], num_frames=2)
    hidden = disc(4, 20, 3)
    add_truth(root / "sequences" / "ball", [hidden, hidden | disc(40, 20, 5)], [True, True], ignore=True)
    add_results(root, "ball", [hidden, disc(40, 20, 5)])
    figures = referral_figures(root, TRACKER)
    assert (figures["num_absent_right"], figures["iou_when_present"]) == (2, 1.0)
    assert figures["accuracy"] == toolkit_accuracy(root, TRACKER)["accuracy"] == 1.0


def test_no_truth_is_none(tmp_path):
    root = make_workspace(tmp_path)
    (root / "sequences" / "kite" / "groundtruth.txt").write_text(f"{NOT_ANNOTATED}\n" * 4)
    theirs = toolkit_accuracy(root, TRACKER)
    assert (theirs["accuracy"], theirs["sequences"], theirs["without_truth"]) == (None, {}, ["ball", "kite"])
    for figures in (referral_figures(root, TRACKER), all_absent_row(root)):
        assert figures["without_truth"] == ["ball", "kite"]
        assert figures["num_pairs"] == 0
        for name in ("accuracy", "pair_accuracy", "iou_when_present", "absent_precision", "absent_recall"):
            assert figures[name] is None


def test_sequences_without_truth_and_broken_ones_are_named(tmp_path):
    root = make_workspace(tmp_path, ["ball", "kite", "gone"])
    (root / "sequences" / "gone" / "sequence").unlink()
    add_truth(root / "sequences" / "ball", [disc(20, 20, 5)] * 4, [True] * 4)
    add_results(root, "ball", [disc(20, 20, 5)] * 4)
    theirs, ours = toolkit_accuracy(root, TRACKER), referral_figures(root, TRACKER)
    assert theirs["accuracy"] == ours["accuracy"] == 1.0
    assert theirs["without_truth"] == ours["without_truth"] == ["kite"]
    assert "gone/sequence: no such file" in theirs["problems"][0]
    assert ours["problems"] == theirs["problems"]
    assert ours["absent_precision"] is None
    assert ours["absent_recall"] is None


def test_missing_and_broken_results_are_named(tmp_path):
    root = make_workspace(tmp_path, ["ball"])
    add_truth(root / "sequences" / "ball", [None] * 4, [True] * 4)
    ensure_tracker(root / "trackers.ini", TRACKER)
    path = result_path(root, TRACKER, "ball", PROMPTS[0])
    write_result(path, ["0"] * 4, 4)
    for figures in (referral_figures, toolkit_accuracy):
        with pytest.raises(UserError, match="1 of 2 results missing"):
            figures(root, TRACKER)
    add_results(root, "ball", [None] * 4)
    path.write_text("0\nm1\n0\n0\n")
    for figures in (referral_figures, toolkit_accuracy):
        with pytest.raises(UserError, match=r"txt:2: .*; track this prompt again"):
            figures(root, TRACKER)


def test_broken_truths_are_named(tmp_path):
    root = make_workspace(tmp_path, ["ball"])
    folder = root / "sequences" / "ball"
    (folder / "groundtruth_object1.txt").write_text("m0,0,2,2,0,4\nm0,0,2,2,7\n")
    add_results(root, "ball", [None] * 4)
    with pytest.raises(UserError, match=r"object1\.txt:2: runs of 7 pixels do not fit .*restore the truth"):
        referral_figures(root, TRACKER)
    (folder / "groundtruth_object2.txt").write_text("0\n")
    for figures in (referral_figures, toolkit_accuracy):
        with pytest.raises(
            UserError, match=r"several truth files \(groundtruth_object1.txt and groundtruth_object2"
        ):
            figures(root, TRACKER)


def test_odd_names_and_an_empty_prompt_twice(tmp_path):
    """An empty prompt counts as often as it stands there; brackets and signs in paths lead nothing astray."""
    root = make_workspace(tmp_path / "100% [x] é", ["k[1] ü"])
    prompts = ("a", "", "b", "")
    write_sequence(root / "sequences" / "k[1] ü", prompts, 10.0)
    add_truth(root / "sequences" / "k[1] ü", [disc(20, 20, 5), None, disc(5, 5, 5), None], [True] * 4)
    add_results(root, "k[1] ü", [disc(20, 20, 5), None, None, None], ("a", "b"))
    add_results(root, "k[1] ü", [None] * 4, ("",))
    ours = referral_figures(root, TRACKER)
    assert (ours["num_pairs"], ours["accuracy"]) == (16, pytest.approx(0.625))
    assert toolkit_accuracy(root, TRACKER)["accuracy"] == pytest.approx(0.625, abs=1e-9)


def test_the_size_in_the_sequence_file_is_the_one_scored(tmp_path):
    """As in the toolkit, which takes width= and height= before the frames' own."""
    root = make_workspace(tmp_path, ["ball"])
    with (root / "sequences" / "ball" / "sequence").open("a") as lines:
        lines.write("width=30\nheight=48\n")
    add_truth(root / "sequences" / "ball", [disc(20, 20, 5), disc(29, 20, 9), None, None], [True] * 4)
    add_results(root, "ball", [disc(40, 20, 5), disc(29, 20, 9) | disc(50, 20, 9), None, disc(60, 9, 2)])
    ours = referral_figures(root, TRACKER)["accuracy"]
    assert ours == pytest.approx(0.75)
    assert toolkit_accuracy(root, TRACKER)["accuracy"] == pytest.approx(ours, abs=1e-9)


@pytest.mark.parametrize("size", [(-5, -5), (0, 48), (10**6, 10**6)])
def test_a_size_in_the_sequence_file_that_no_mask_has_is_not_scored_at(tmp_path, size):
    """The frames' own counts, of which reading the workspace warns; nothing of that size is allocated."""
    root = make_workspace(tmp_path, ["ball"])
    with (root / "sequences" / "ball" / "sequence").open("a") as lines:
        lines.write(f"width={size[0]}\nheight={size[1]}\n")
    add_truth(root / "sequences" / "ball", [disc(20, 20, 5), disc(29, 20, 9), None, None], [True] * 4)
    add_results(root, "ball", [disc(20, 20, 5), disc(29, 20, 9), None, disc(40, 9, 2)])
    assert f"width={size[0]} height={size[1]}, but the frames" in read_workspace(root).warnings[0]
    assert referral_figures(root, TRACKER)["accuracy"] == pytest.approx(0.75)


@pytest.mark.parametrize(("lines", "told"), [(4, None), (5, "the rest is cut"), (3, "are not annotated")])
def test_truth_that_has_not_a_line_a_frame_is_noted(lines: int, told: str | None, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", ["ball"])
    add_truth(root / "sequences" / "ball", [disc(20, 20, 8)] * lines, [True] * lines)
    truth = read_truth(read_workspace(root).sequences[0])
    assert truth is not None
    assert bool(truth.notes) == bool(told)
    assert not told or f"groundtruth_object1.txt: {lines} lines for 4 frames; " in truth.notes[0]
    assert not told or truth.notes[0].endswith(told)
