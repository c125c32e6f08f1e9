"""Rendered data sets: the same bytes on any number of processes, and truth that says what is seen."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.geometry import box_of_mask
from data_prep.votsr.truth import read_truth
from data_prep.votsr.workspace import read_workspace
from data_prep.world.expressions import expression_texts
from data_prep.world.film import SLIVER, Film, make_film
from data_prep.world.overview import write_sheet
from data_prep.world.presets import PRESETS, AbsenceShares
from data_prep.world.render import render_workspace

# Away at first, then it comes in: a few frames show both.
LATE = dataclasses.replace(PRESETS["val"], frames=(18, 20), absences=AbsenceShares(late=1.0), away=(0.3, 0.4))
SEQUENCES = 2


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def films() -> list[Film]:
    return [make_film(LATE, index, expressions=3) for index in range(SEQUENCES)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "ws"
    assert render_workspace(root, LATE, SEQUENCES, expressions=3) == ["val-001", "val-002"]
    return root


@pytest.mark.parametrize("layout", ["votsr", "tnl2k", "tnllt"])
def test_the_same_bytes_on_one_and_two_processes(layout: str, tmp_path: Path) -> None:
    for workers in (1, 2):
        root = tmp_path / str(workers)
        render_workspace(root, LATE, SEQUENCES, expressions=3, frames=3, workers=workers, layout=layout)
    one, two = contents(tmp_path / "1"), contents(tmp_path / "2")
    extra = {"votsr": 3 * SEQUENCES + 2, "tnl2k": 4 * SEQUENCES, "tnllt": 4 * SEQUENCES}[layout]
    assert len(one) == 3 * SEQUENCES + extra
    assert one == two


def test_a_workspace_is_read_without_a_fault(workspace: Path) -> None:
    read = read_workspace(workspace)
    assert not read.problems and not read.warnings
    for sequence, film in zip(read.sequences, films(), strict=True):
        assert sequence.expressions == expression_texts(film.scene, 3)
        assert len(sequence.frames) == film.frames and sequence.frames.size == LATE.size
        drawn, _ = next(film.shots())
        assert np.abs(next(iter(sequence.frames)).astype(int) - drawn).mean() < 8, "JPEG takes a little"


def test_the_truth_file_says_what_the_masks_say(workspace: Path) -> None:
    """Present and absent frames: an empty mask is written where nothing of the target is seen."""
    counts = {True: 0, False: 0}
    for sequence, film in zip(read_workspace(workspace).sequences, films(), strict=True):
        truth = read_truth(sequence)
        assert truth is not None and truth.size == LATE.size
        found = list(truth.annotated())
        assert [frame.index for frame in found] == list(range(film.frames)), "every frame is annotated"
        for frame, (_, mask) in zip(found, film.shots(), strict=True):
            counts[mask is not None] += 1
            assert np.array_equal(frame.mask, np.zeros_like(frame.mask) if mask is None else mask)
    assert min(counts.values()) > 4


@pytest.mark.parametrize(("layout", "suffix", "absent"), [("tnl2k", "jpg", "1"), ("tnllt", "png", "0")])
def test_boxes_and_labels_of_the_box_layouts(layout: str, suffix: str, absent: str, tmp_path: Path) -> None:
    assert render_workspace(tmp_path, LATE, SEQUENCES, layout=layout) == ["val-001", "val-002"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["val-001", "val-002"]
    for film in films():
        folder = tmp_path / film.name
        boxes, labels = (
            (folder / name).read_text().splitlines() for name in ("groundtruth.txt", "absent_label.txt")
        )
        assert (folder / "language.txt").read_text() == f"{film.expressions[0].text}\n"
        images = sorted(path.name for path in (folder / "imgs").iterdir())
        assert images == [f"{number:05d}.{suffix}" for number in range(1, film.frames + 1)]
        for box, label, (_, mask) in zip(boxes, labels, film.shots(), strict=True):
            assert (label == absent) == (mask is None)
            if mask is None:
                assert box == "0,0,0,0"
            else:
                left, top, width, height = map(int, box.split(","))
                assert box_of_mask(mask) == (left, top, left + width, top + height)
        assert len(set(labels)) == 2


def test_png_frames_are_the_drawn_ones(tmp_path: Path) -> None:
    render_workspace(tmp_path, LATE, 1, frames=1, layout="tnllt")
    drawn, _ = next(films()[0].shots())
    assert np.array_equal(np.asarray(Image.open(tmp_path / "val-001" / "imgs" / "00001.png")), drawn)


def test_attributes_say_what_the_scene_is(workspace: Path) -> None:
    for film in films():
        read = json.loads((workspace / "sequences" / film.name / "attributes.json").read_text())
        shown = [mask for _, mask in film.shots() if mask is not None]
        assert read["present_share"] == pytest.approx(len(shown) / film.frames, abs=1e-4)
        assert min(mask.sum() for mask in shown) >= SLIVER
        median = np.median([mask.mean() for mask in shown])
        assert read["median_area_share"] == pytest.approx(median, abs=1e-4)
        assert (read["absence"], read["seed"], read["frames"]) == ("late", film.scene.seed, film.frames)
        target = film.scene.things[film.scene.target]
        assert (read["target"]["colour"], read["target"]["shape"]) == (target.colour, target.shape)
        assert len(read["others"]) == len(film.scene.things) - 1
        assert [each["text"] for each in read["expressions"]] == list(expression_texts(film.scene, 3))
        assert read["expressions"][0]["kind"] == "attribute"


def test_zero_is_the_presets_own() -> None:
    val, hard = make_film(PRESETS["val"], 0), make_film(PRESETS["hard"], 5)
    assert len(val.expressions) == 4 and val.frames == val.scene.frames
    assert len(hard.expressions) == 2 and hard.name == "hard-006"
    assert make_film(PRESETS["val"], 0, expressions=2, frames=7).frames == 7
    assert make_film(PRESETS["val"], 0, frames=10_000).frames == val.frames
    counts = {name: (preset.sequences, preset.expressions) for name, preset in PRESETS.items()}
    assert counts["test"] == counts["val"] == (20, 4) and counts["hard"] == (40, 2)


def test_a_contact_sheet(tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.png", PRESETS["demo"])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] == 4 * 320 and len(np.unique(np.asarray(sheet))) > 50
