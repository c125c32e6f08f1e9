"""Protocol davis: figures of miniature data sets against the plain formulas, layouts, and what is missing."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from data_prep.readers.mevis import MEVIS
from data_prep.readers.refdavis import REFDAVIS
from data_prep.readers.refytvos import REFYTVOS
from data_prep.readers.tnl2k import TNL2K
from data_prep.votsr.regions import encode_mask
from evaluation.masks.davis_evaluation import evaluate_masks
from tests.dataset_miniature import CAR, DOG
from tests.mask_miniature import rle, write_json
from tests.mask_results_miniature import FRAMES, ROWS, noisy, write_results, write_truth
from tests.plain_masks import plain_f, plain_j


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return write_truth(tmp_path / "refytvos")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results")


def check_figures(scores: Any, semi: bool) -> None:
    """The noisy tracker's figures are means over sentences of the plain formulas."""
    kept = slice(1, -1) if semi else slice(None)
    js, fs, overlaps = [], [], []
    for seed, video in enumerate(ROWS.values()):
        pairs = [(video.mask(at), mask) for at, mask in enumerate(noisy(video, seed))]
        js.append([plain_j(*pair) for pair in pairs][kept])
        fs.append([plain_f(*pair) for pair in pairs][kept])
        overlaps += [np.nan, *js[-1], np.nan] if semi else js[-1]
    for key, values in (("j", js), ("f", fs)):
        np.testing.assert_allclose(scores.by_sequence[key], [100 * np.mean(row) for row in values])
        recalls = [100 * np.mean(np.array(row) > 0.5) for row in values]
        np.testing.assert_allclose(scores.by_sequence[f"{key}_recall"], recalls)
        assert scores.overall[key] == pytest.approx(100 * np.mean([np.mean(row) for row in values]))
        assert scores.overall[f"{key}_recall"] == pytest.approx(np.mean(recalls))
    assert scores.overall["j_and_f"] == pytest.approx((scores.overall["j"] + scores.overall["f"]) / 2)
    np.testing.assert_allclose(scores.frame_overlap, np.array(overlaps, np.float32), rtol=1e-6)
    curve = [100 * np.mean(np.array(row) > 0.5) for row in js]
    np.testing.assert_allclose(scores.curves["success"][:, 10], curve)


@pytest.mark.parametrize("semi", [False, True])
def test_equal_to_the_plain_formulas(truth: Path, results: Path, semi: bool) -> None:
    told = evaluate_masks(REFYTVOS, truth, "train", results, semi=semi)
    assert told.measures.protocol == ("davis_semi" if semi else "davis")
    assert told.benchmark.sequences == tuple(ROWS) and told.benchmark.starts.tolist() == [0, 5, 10, 14]
    perfect, mine = told.trackers
    assert (perfect.tracker, mine.tracker) == ("Perfect", "Noisy") and told.notes == ()
    for each in told.trackers:
        assert set(each.overall) == set(each.by_sequence) == {metric.key for metric in told.measures.metrics}
    assert perfect.overall["j_and_f"] == perfect.overall["redetected"] == 100
    if not semi:
        assert perfect.overall["absent_recall"] == perfect.overall["absent_precision"] == 100
    check_figures(mine, semi)


def test_several_processes_give_the_same(truth: Path, results: Path) -> None:
    one, two = (evaluate_masks(REFYTVOS, truth, "train", results, workers=count) for count in (1, 2))
    assert [each.overall for each in one.trackers] == [each.overall for each in two.trackers]


def test_our_own_lines_are_a_row_a_target(truth: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own" / "Mine" / "masks"
    folder.mkdir(parents=True)
    for name, video in (("car-1_1", CAR), ("dog-12_12", DOG), ("cow-3_1", DOG)):
        lines = [encode_mask(video.mask(at)) for at in range(len(video.boxes_xywh))]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    told = evaluate_masks(REFYTVOS, truth, "train", tmp_path / "own", layout="data")
    assert told.benchmark.sequences == ("car-1_1", "dog-12_12")
    assert told.trackers[0].overall["j_and_f"] == 100
    assert "1 results are of videos that the split does not have, the first is cow-3_1.txt" in told.notes[0]


def test_mevis_and_refdavis(truth: Path, results: Path, tmp_path: Path) -> None:
    """The same figures out of packed runs and, for Ref-DAVIS17, of the converted form."""
    wanted = evaluate_masks(REFYTVOS, truth, "train", results).trackers[1].overall
    told = {"car-1": (("0", 10), ("1", 10)), "dog-12": (("0", 2),)}
    videos = {
        name: {
            "frames": FRAMES[name],
            "expressions": {n: {"exp": "it", "obj_id": [0], "anno_id": [of]} for n, of in each},
        }
        for name, each in told.items()
    }
    root = tmp_path / "mevis"
    write_json(root / "valid_u/meta_expressions.json", {"videos": videos})
    masks = {
        number: [None if box is None else rle(video.mask(at)) for at, box in enumerate(video.boxes_xywh)]
        for number, video in (("10", CAR), ("2", DOG))
    }
    write_json(root / "valid_u/mask_dict.json", masks)
    (truth / "train/JPEGImages").rename(root / "valid_u/JPEGImages")
    assert evaluate_masks(MEVIS, root, "valid_u", results).trackers[1].overall == wanted
    (root / "valid_u/JPEGImages").rename(truth / "train/JPEGImages")
    assert evaluate_masks(REFDAVIS, truth, "train", results).trackers[1].overall == wanted


def test_what_is_missing_is_told_or_counted(truth: Path, results: Path) -> None:
    (results / "Noisy/dog-12/0/00002.png").unlink()
    (results / "Noisy/dog-12/0/00002.png").mkdir()  # a folder is no mask
    (results / "Noisy/car-1/1.txt").write_text("0\n0\n")
    for name in FRAMES["car-1"]:
        (results / f"Perfect/car-1/0/{name}.png").unlink()
    (results / "Perfect/car-1/0").rmdir()
    (results / "Perfect/cow-3").mkdir()
    with pytest.raises(UserError) as fault:
        evaluate_masks(REFYTVOS, truth, "train", results)
    told = str(fault.value).splitlines()
    assert len(told) == 3
    assert "Noisy/car-1/1.txt: 2 lines for 5 frames" in told[0]
    assert "Noisy/dog-12/0: 1 of 4 masks missing, the first 00002.png" in told[1]
    assert "Perfect/car-1/0: no such result, nor 0.txt" in told[2]
    counted = evaluate_masks(REFYTVOS, truth, "train", results, missing="count")
    assert len(counted.notes) == 4 and "cow-3" in counted.notes[-1]
    perfect, noisy_one = counted.trackers
    assert perfect.by_sequence["j_and_f"].tolist() == [0, 100, 100]
    assert np.isnan(perfect.by_sequence["absent_precision"][0]), "what is missing says nothing of absence"
    assert noisy_one.frame_overlap[5:10].tolist() == [0, 0, 0, 0, 0] and noisy_one.frame_overlap[12] == 0


def test_faults_are_told(truth: Path, results: Path) -> None:
    def fails(told: str, reader: Any = REFYTVOS, split: str = "train", **more: Any) -> None:
        with pytest.raises(UserError, match=told):
            evaluate_masks(reader, truth, split, results, **more)

    fails(r"results/Nobody: no such tracker; there are Noisy, Perfect", trackers=["Nobody"])
    Image.new("L", (24, 32)).save(results / "Perfect/car-1/0/00003.png")
    fails(r"00003\.png: mask is 24x32, but the frames are 32x24")
    Image.new("RGB", (32, 24)).save(results / "Perfect/car-1/0/00003.png")
    fails(r"00003\.png: mask is a PNG of kind RGB instead of .*; track this sentence again")
    (results / os.fsdecode(b"b\xe9")).mkdir()
    fails(r"results/b\\xe9: the name is not UTF-8; rename it")
    (results / os.fsdecode(b"b\xe9")).rmdir()
    (results / "Noisy/car-1/1.txt").write_text("0\n0\nm1\n0\n0\n")
    fails(r"1\.txt:3: .*; track this sentence again")
    (truth / "valid").symlink_to("train")
    path = truth / "meta_expressions/train/meta_expressions.json"
    write_json(truth / "meta_expressions/valid/meta_expressions.json", json.loads(path.read_text()))
    fails("its masks are not public", split="valid")
    with pytest.raises(UserError, match=r"empty: holds no folder of a tracker"):
        evaluate_masks(REFYTVOS, truth, "train", truth / "empty")
    assert TNL2K.masks is None
