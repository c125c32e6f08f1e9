"""VOTSr workspaces as sequences: what is annotated, absent, and not known."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from data_prep.readers.votsr import VOTSR
from data_prep.sequence import ABSENT, PRESENT, UNKNOWN
from data_prep.votsr.textfiles import sequence_folder, write_sequence, write_truth, write_workspace
from tests.dataset_miniature import CAR, DOG, SIZE, VIDEOS, Video, assert_same, write_frames


def write(root: Path, video: Video, annotated: list[bool] | None = None) -> None:
    folder = sequence_folder(root, video.name)
    write_frames(folder / "color", video)
    write_sequence(folder, [video.prompt], 6.0)
    masks = [video.mask(frame) for frame in range(len(video.boxes_xywh))]
    write_truth(folder / "groundtruth_object1.txt", masks, annotated or [True] * len(masks), SIZE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for video in VIDEOS:
        write(tmp_path, video)
    write_workspace(tmp_path, [DOG.name, CAR.name])
    return tmp_path


def test_sequences_are_read_in_the_order_of_the_list(root: Path) -> None:
    entries = VOTSR.find(root, "all")
    for entry, video in zip(entries, (DOG, CAR), strict=True):
        sequence = VOTSR.read(entry)
        assert_same(sequence, video)
        assert (sequence.fps, sequence.folder) == (6.0, root / "sequences" / video.name)
        assert sequence.notes == ()


def test_a_line_0_is_not_known_and_an_empty_mask_is_absent(tmp_path: Path) -> None:
    write(tmp_path, CAR, [False, True, True, False, False])
    write_workspace(tmp_path, [CAR.name])
    truth = VOTSR.read(VOTSR.find(tmp_path, "all")[0]).truth
    assert truth is not None
    assert truth.present.tolist() == [UNKNOWN, PRESENT, ABSENT, UNKNOWN, UNKNOWN]
    assert np.isnan(truth.boxes_xywh[[0, 2, 3, 4]]).all() and truth.boxes_xywh[1].tolist() == [3, 3, 8, 6]


def test_without_truth_nothing_is_known(root: Path) -> None:
    path = root / "sequences/car-1/groundtruth_object1.txt"
    for content in ("0\n" * 5, None):
        path.unlink()
        if content:
            path.write_text(content)
        truth = VOTSR.read(VOTSR.find(root, "all")[1]).truth
        assert truth is not None and truth.present.tolist() == [UNKNOWN] * 5


def test_truth_longer_or_shorter_than_the_frames(root: Path) -> None:
    path = root / "sequences/car-1/groundtruth_object1.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:2]))
    sequence = VOTSR.read(VOTSR.find(root, "all")[1])
    assert sequence.truth is not None
    assert sequence.truth.present.tolist() == [PRESENT] * 2 + [UNKNOWN] * 3
    assert "2 lines for 5 frames" in sequence.notes[0]
    path.write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(UserError, match=r"object1\.txt: line 6 is a mask, but there are 5 frames"):
        VOTSR.read(VOTSR.find(root, "all")[1])
    path.write_text("\n".join(["m1,2", *lines[1:]]))
    with pytest.raises(UserError, match=r"object1\.txt:1: "):
        VOTSR.read(VOTSR.find(root, "all")[1])


def test_a_faulty_sequence_is_told_when_it_is_read_and_the_others_go_on(root: Path) -> None:
    (root / "sequences/dog-12/color/00000002.jpg").unlink()
    dog, car = VOTSR.find(root, "all")
    with pytest.raises(UserError, match=r"00000002\.jpg: frame is missing"):
        VOTSR.read(dog)
    assert_same(VOTSR.read(car), CAR)


def test_prompts_are_as_the_workspace_reads_them(root: Path) -> None:
    folder = root / "sequences/car-1"
    text = (folder / "sequence").read_text()
    (folder / "sequence").write_text(text.replace("fps=6", "fps=x").replace(CAR.prompt, "one;two, or three;"))
    sequence = VOTSR.read(VOTSR.find(root, "all")[1])
    assert sequence.expressions == ("one", "two, or three", "") and sequence.fps == 30
    assert any("fps=x is not a frame rate" in note for note in sequence.notes)
    assert any("empty prompt" in note for note in sequence.notes)
    assert VOTSR.read(VOTSR.find(root, "all")[0]).notes == (), "the other's warnings are its own"
    (folder / "sequence").write_text(text.replace(CAR.prompt, "one;two;two"))
    sequence = VOTSR.read(VOTSR.find(root, "all")[1])
    assert sequence.expressions == ("one",) and "'two' and 'two' share the hash" in sequence.notes[0]


def test_no_workspace_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.yaml: no such file"):
        VOTSR.find(tmp_path, "all")


def test_a_real_workspace(shared_data: Path) -> None:
    (entry,) = VOTSR.find(shared_data / "votsr_real", "all")
    sequence = VOTSR.read(entry)
    assert len(sequence.frames) == 50 and sequence.frames.size == (960, 540) and sequence.expressions
    assert sequence.truth is not None and (sequence.truth.present == UNKNOWN).all()
    assert Image.open(entry.facts["paths"][0]).size == (960, 540)
