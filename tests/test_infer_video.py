"""Runs over `video=`: films, animations and folders of frames; what of them is tracked and what is told."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from data_prep.readers.folders import image_names
from data_prep.video.inputs import open_video
from data_prep.votsr.results import read_lines
from infer.config import InferSettings
from infer.runs import run as infer_run
from infer.runs.video import video_plan
from infer.trackers.referral import ReferralConfig
from models.config import GrounderConfig
from models.mask_head.config import MaskHeadConfig
from tests.made_videos import scenes, write_film
from tests.tiny_models import save_grounder, save_mask_head

PICTURES = scenes(10)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return save_grounder(folder / "grounder"), save_mask_head(folder / "mask_head")


@pytest.fixture
def settings(tmp_path: Path, checkpoints: tuple[Path, Path]) -> InferSettings:
    grounder, mask_head = checkpoints
    return InferSettings(
        video=str(tmp_path / "clip.mkv"),
        prompt="the red box",
        model=GrounderConfig(str(grounder)),
        mask_head=MaskHeadConfig(str(mask_head)),
        tracker=ReferralConfig(activation_threshold=0.0, logit_scale=0.0, confirm=False),
        device="cpu",
        out=str(tmp_path / "out"),
        overlay=False,
    )


def run(settings: InferSettings, **changes: Any) -> tuple[int, dict[str, Any]]:
    status = infer_run.run(dataclasses.replace(settings, **changes))
    return status, json.loads((Path(settings.out) / "summary.json").read_text())


def mask_files(settings: InferSettings) -> list[Path]:
    return sorted((Path(settings.out) / "masks").glob("*.txt"))


def test_a_video_that_is_cut_short_is_tracked_as_far_as_it_goes(
    settings: InferSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clip.mkv"
    data = write_film(path, PICTURES)
    path.write_bytes(data[: len(data) * 9 // 10])
    status, summary = run(settings)
    (warning,) = summary["warnings"]
    assert status == 1 and summary["failed"] == []
    frames = summary["track_frames"]
    assert 0 < frames < 10 and f"cut short: nothing can be read after frame {frames};" in warning
    assert len(read_lines(mask_files(settings)[0], frames)) == frames
    assert "cut short" in capsys.readouterr().out


def write_folder(folder: Path) -> None:
    """Frames whose names count without leading zeros, among files that are none."""
    folder.mkdir()
    for number, picture in enumerate(PICTURES, 1):
        Image.fromarray(picture).save(folder / f"frame {number}.png")
    (folder / "notes.txt").write_text("")
    (folder / ".hidden.png").write_bytes(b"")


def test_a_folder_of_frames_is_a_video(
    settings: InferSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "walk.v2")
    video = open_video(tmp_path / "walk.v2")
    assert all(np.array_equal(a, b) for a, b in zip(video.frames, PICTURES, strict=True))
    status, summary = run(settings, video=str(tmp_path / "walk.v2"))
    assert (status, summary["track_frames"], summary["warnings"]) == (0, 10, [])
    assert mask_files(settings)[0].name.startswith("walk.v2_")
    told = "10 in the folder, frame 1.png to frame 10.png; ignored: .hidden.png, notes.txt"
    assert told in " ".join(capsys.readouterr().out.split())


def test_frames_of_one_last_number_are_ordered_by_the_others(tmp_path: Path) -> None:
    names = [f"t{number}_left1.webp" for number in (2, 9, 10, 11)]
    for name in names:
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert image_names(tmp_path) == names


@pytest.mark.parametrize("name", ["clip.gif", "clip.webp", "clip.mkv", "clip"])
def test_a_part_of_a_video_has_the_frames_from_first_to_last(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "clip":
        write_folder(path)
    elif name == "clip.mkv":
        write_film(path, PICTURES)
    else:
        first, *others = (Image.fromarray(picture) for picture in PICTURES)
        first.save(path, save_all=True, append_images=others, duration=40, lossless=True)
    whole = list(open_video(path).frames)
    for first_frame, last_frame in ((3, 7), (None, 1), (10, None), (4, 4)):
        part = open_video(path, first_frame, last_frame).frames
        expected = whole[(first_frame or 1) - 1 : last_frame]
        assert part.size == (96, 64) and len(part) == len(expected)
        assert all(np.array_equal(a, b) for a, b in zip(part, expected, strict=True))
    for first_frame, last_frame in ((11, None), (None, 11), (11, 12), (5, 4)):
        with pytest.raises(UserError, match="has frames 1 to 10, so first="):
            open_video(path, first_frame, last_frame)


def test_a_box_shows_the_target_of_the_first_tracked_frame(settings: InferSettings, tmp_path: Path) -> None:
    """In a phone's video, in pixels of the upright frame; words are not needed."""
    stored = [np.rot90(picture, -1) for picture in PICTURES]
    write_film(tmp_path / "clip.mkv", stored, shown=(90, False))
    status, summary = run(settings, prompt=None, first=3, last=6, box="14,16,34,32")
    assert (status, summary["track_frames"], summary["failed"]) == (0, 4, [])
    records = json.loads((Path(settings.out) / "tracks.json").read_text())["tracks"]
    assert records[0]["states"][0] == "track"  # not searched for
    plan = video_plan(dataclasses.replace(settings, prompt=None, first=3, box="[14, -9, 34, 32]"), tmp_path)
    session: Any = SimpleNamespace(tracker=lambda expression, frame, box_xyxy=None: (expression, box_xyxy))
    start = plan.open_store(session).start(plan.sequences[0], "")
    assert start(next(iter(plan.sequences[0].frames))) == ("the target", (14, 0, 34, 32))
    with pytest.raises(UserError, match=r"box"):
        run(settings, prompt=None, first=3, last=6, box="40,16,60,32")
    with pytest.raises(UserError, match=r"box=200,1,210,9: lies outside the frames, which are 96x64"):
        run(settings, prompt=None, box="200,1,210,9", overwrite=True)


def test_tracks_of_several_prompts_are_shown_together(settings: InferSettings, tmp_path: Path) -> None:
    write_film(tmp_path / "clip.mkv", PICTURES)
    status, _ = run(settings, prompt="the red box; the ground", overlay=True)
    overlays = Path(settings.out) / "overlays"
    assert status == 0 and len(list(overlays.glob("clip_*.mp4"))) == 3
    assert len(open_video(overlays / "clip_all.mp4").frames) == 10
    shutil.rmtree(overlays)
    run(settings, prompt="the red box; the ground; the sky", overlay=True)  # of one of three tracks: no
    assert [path.name == "clip_all.mp4" for path in overlays.glob("clip_*.mp4")] == [False]


def test_no_overlay_is_obeyed(settings: InferSettings, tmp_path: Path) -> None:
    write_film(tmp_path / "clip.mkv", PICTURES[:2])
    run(settings, overlay=False)
    assert not {"overlays", "sheets", "contact_sheet.png"} & {path.name for path in tmp_path.glob("out/*")}
