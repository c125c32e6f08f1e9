"""Runs over `video=`: films, animations and folders of frames; what of them is tracked and what is told."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.votsr.results import read_lines
from infer import run as infer_run
from infer.config import InferSettings, TrackerConfig
from models.config import GrounderConfig, MaskHeadConfig
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
        tracker=TrackerConfig(find_above=0.0, trust=0.0, confirm=False),
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
