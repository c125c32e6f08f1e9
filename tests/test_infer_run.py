"""Whole runs with tiny models: what is written, what is refused, what fails alone."""

import dataclasses
import json
import os
import re
import shutil
import signal
import threading
import time
import zipfile
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from data_prep.geometry import box_of_mask
from data_prep.sequence import Sequence
from data_prep.video.frames import VideoFrames
from data_prep.votsr.regions import encode_mask
from data_prep.votsr.results import read_lines, read_result, result_path
from data_prep.votsr.textfiles import write_sequence, write_workspace
from infer.__main__ import _on_signals, main
from infer.config import InferSettings
from infer.runs import run as infer_run
from infer.runs.claims import claim_results
from infer.runs.plan import MaskStore
from infer.runs.summary import TrackOutcome
from infer.runs.track_run import TrackRun
from infer.trackers.per_frame import PerFrameConfig
from infer.trackers.referral import ReferralConfig
from infer.trackers.requests import State
from models.config import GROUNDERS, GrounderConfig
from models.grounder.grounder import Grounder
from models.interfaces import Answer, Question
from models.mask_head.config import MaskHeadConfig
from tests.tiny_models import save_grounder, save_mask_head
from tests.votsr_miniature import PROMPTS, SIZE, add_sequence, add_truth, disc, make_workspace, write_frame

pytestmark = pytest.mark.usefixtures("forked_toolkit")

ID = "Mine"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return save_grounder(folder / "grounder"), save_mask_head(folder / "mask_head")


@pytest.fixture
def settings(tmp_path: Path, checkpoints: tuple[Path, Path]) -> InferSettings:
    """A run over `tmp_path/ws`, without packing and pictures unless a test wants them."""
    grounder, mask_head = checkpoints
    return InferSettings(
        workspace=str(tmp_path / "ws"),
        tracker_id=ID,
        model=GrounderConfig(str(grounder)),
        mask_head=MaskHeadConfig(str(mask_head)),
        tracker=ReferralConfig(activation_threshold=0.0, logit_scale=0.0, confirm=False),
        device="cpu",
        out=str(tmp_path / "out"),
        pack=False,
        overlay=False,
    )


def run(settings: InferSettings, **changes: Any) -> tuple[int, dict[str, Any]]:
    status = infer_run.run(dataclasses.replace(settings, **changes))
    return status, json.loads((Path(settings.out) / "summary.json").read_text())


def results(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "results" / ID).rglob("*.txt"))}


def test_a_workspace_is_tracked_packed_scored_and_pictured(settings: InferSettings, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws")
    masks = [disc(20, 20, 8), None, disc(30, 20, 8), None]
    for name in ("ball", "kite"):
        add_truth(root / "sequences" / name, masks, [True, True, False, True])
    status, summary = run(settings, pack=True, overlay=True)
    assert status == 0
    assert summary["tracks"] == summary["written"] == 4
    assert summary["track_frames"] == 16 and summary["failed"] == []
    with zipfile.ZipFile(summary["zip"]) as archive:
        names = archive.namelist()
    assert "manifest.yml" in names and sum(name.startswith("baseline/") for name in names) >= 4
    assert 0 <= summary["referral_accuracy"] <= 1
    assert summary["absent_recall"] is not None and set(summary["sequences"]) == {"ball", "kite"}
    videos = sorted((tmp_path / "out" / "overlays").glob("*.mp4"))
    assert len(videos) == 4 + 2  # one of each track, and one of all tracks of each sequence
    assert len(VideoFrames.open(videos[0])) == 4
    assert (tmp_path / "out" / "contact_sheet.png").is_file()
    assert "[Mine]" in (root / "trackers.ini").read_text()


def test_a_sequence_without_truth_beside_others_is_told(
    settings: InferSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_workspace(tmp_path / "ws")
    add_truth(root / "sequences" / "kite", [disc(20, 20, 8)] * 4, [True] * 4)
    monkeypatch.setattr("infer.runs.workspace.toolkit_accuracy", lambda root, tracker: {"accuracy": 0.5})
    status, summary = run(settings)
    assert status == 0 and summary["referral_accuracy"] == 0.5
    assert "ball: no annotated frame; it is not scored" in summary["warnings"]


def test_the_same_run_gives_the_same_bytes(settings: InferSettings, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws")
    run(settings)
    first = results(root)
    run(settings, overwrite=True)
    assert results(root) == first and len(first) == 4


def test_what_is_whole_is_kept_and_the_rest_completed(settings: InferSettings, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws")
    run(settings)
    first = results(root)
    kept, removed, cut = (
        result_path(root, ID, "ball", PROMPTS[0]),
        *(result_path(root, ID, "kite", prompt) for prompt in PROMPTS),
    )
    written_at = kept.stat().st_mtime_ns
    removed.unlink()
    cut.write_text("0\n")
    status, summary = run(settings)
    assert status == 0 and summary["written"] == 4 and summary["track_frames"] == 8
    assert results(root) == first and kept.stat().st_mtime_ns == written_at


def test_a_run_that_was_continued_has_the_contact_sheet_of_an_unbroken_one(
    settings: InferSettings, tmp_path: Path
) -> None:
    root = make_workspace(tmp_path / "ws")
    run(settings, overlay=True)
    sheet = tmp_path / "out" / "contact_sheet.png"
    unbroken = sheet.read_bytes()
    for prompt in PROMPTS:  # those of the first sequence: its rows come first although it is tracked last
        result_path(root, ID, "ball", prompt).unlink()
    status, summary = run(settings, overlay=True)
    assert (status, summary["track_frames"]) == (0, 8) and sheet.read_bytes() == unbroken


def test_a_sequence_whose_frames_were_exchanged_is_tracked_again_and_no_other(
    settings: InferSettings, tmp_path: Path
) -> None:
    root = make_workspace(tmp_path / "ws")
    run(settings)
    first = results(root)
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)  # with other times
    elsewhere = dataclasses.replace(settings, workspace=str(tmp_path / "copy"), out=str(tmp_path / "other"))
    assert infer_run.run(elsewhere) == 0 and results(tmp_path / "copy") == first
    assert json.loads((tmp_path / "other" / "summary.json").read_text())["track_frames"] == 0
    Image.new("RGB", SIZE).save(root / "sequences" / "kite" / "color" / "00000003.jpg")
    kept = result_path(root, ID, "ball", PROMPTS[0])
    written_at = kept.stat().st_mtime_ns
    status, summary = run(settings)
    assert status == 0 and summary["track_frames"] == 8 and kept.stat().st_mtime_ns == written_at
    assert [line for line in summary["warnings"] if line.startswith("kite: its frames, texts")]
    status, summary = run(settings)
    assert status == 0 and summary["track_frames"] == 0 and not summary["warnings"]


@pytest.mark.parametrize("line", ["m1,2,3,4,5", "9", "1,2,3,4", "nan"])
def test_a_result_with_a_broken_line_is_tracked_again(
    settings: InferSettings, tmp_path: Path, line: str
) -> None:
    root = make_workspace(tmp_path / "ws")
    run(settings)
    first = results(root)
    result_path(root, ID, "ball", PROMPTS[0]).write_text(f"0\n0\n{line}\n0\n")
    status, summary = run(settings)
    assert status == 0 and results(root) == first and summary["track_frames"] == 4


def test_results_of_another_run_are_refused_unless_overwritten(
    settings: InferSettings, tmp_path: Path
) -> None:
    root = make_workspace(tmp_path / "ws")
    run(settings)
    first = results(root)
    other = PerFrameConfig(activation_threshold=1.1)  # never sees anything
    with pytest.raises(UserError, match=r"other tracker.*overwrite=true"):
        run(settings, tracker=other)
    assert results(root) == first
    status, _ = run(settings, tracker=other, overwrite=True)
    assert status == 0
    assert all(set(content.split()) == {b"0"} for content in results(root).values())


def test_results_without_a_fingerprint_are_refused(settings: InferSettings, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws")
    run(settings)
    (root / "results" / ID / "fingerprint.json").unlink()
    with pytest.raises(UserError, match="missing"):
        run(settings)


def test_an_empty_prompt_is_absent_throughout(settings: InferSettings, tmp_path: Path) -> None:
    root = tmp_path / "ws"
    add_sequence(root, "ball", prompts=("the ball", ""))
    write_workspace(root, ["ball"])
    status, summary = run(settings, pack=True)
    assert status == 0 and summary["warnings"]
    assert read_lines(result_path(root, ID, "ball", "")) == ["0"] * 4


def _lose_a_frame(folder: Path) -> None:
    (folder / "color" / "00000002.jpg").unlink()


def _break_a_frame(folder: Path) -> None:
    path = folder / "color" / "00000003.jpg"
    path.write_bytes(path.read_bytes()[:200])


def _resize_a_frame(folder: Path) -> None:
    write_frame(folder / "color" / "00000002.jpg", (32, 24))


def _lose_the_file(folder: Path) -> None:
    (folder / "sequence").unlink()


def _lose_the_prompts(folder: Path) -> None:
    (folder / "sequence").write_text("name=kite\n")


def _clash(folder: Path) -> None:
    write_sequence(folder, ["same words", "same words"], 10.0)


FAULTS = [_lose_a_frame, _break_a_frame, _resize_a_frame, _lose_the_file, _lose_the_prompts, _clash]


@pytest.mark.parametrize("spoil", FAULTS)
def test_a_bad_sequence_fails_alone(
    spoil: Any, settings: InferSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_workspace(tmp_path / "ws")
    folder = root / "sequences" / "kite"
    spoil(folder)
    status, summary = run(settings, pack=True)
    assert status == 1 and summary["zip"] is None
    assert summary["written"] == 2 and summary["tracks"] == 2 + len(summary["failed"])
    assert {failure["sequence"] for failure in summary["failed"]} == {"kite"}
    reasons = {failure["reason"] for failure in summary["failed"]}
    assert len(reasons) == 1 and "\n" not in next(iter(reasons)) and str(folder) in next(iter(reasons))
    assert not list((root / "results" / ID / "baseline").glob("kite/*.txt"))
    assert not list(root.glob("*.zip"))
    assert next(iter(reasons)) in capsys.readouterr().out


def test_a_name_that_leaves_the_workspace_is_refused(settings: InferSettings, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", names=["ball"])
    (root / "sequences" / "list.txt").write_text("ball\n../x\n")
    before = sorted(tmp_path.iterdir())
    status, summary = run(settings)
    assert status == 1 and summary["written"] == 2
    assert [failure["sequence"] for failure in summary["failed"]] == ["../x"]
    assert set(tmp_path.iterdir()) - set(before) <= {tmp_path / "out"}


def test_windows_line_ends_and_repeats_are_simply_read(settings: InferSettings, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", names=["ball"])
    (root / "sequences" / "list.txt").write_bytes(b"ball\r\nball\r\n")
    path = root / "sequences" / "ball" / "sequence"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    status, summary = run(settings, pack=True)
    assert status == 0 and summary["tracks"] == 2 and len(summary["warnings"]) == 1


def test_a_workspace_that_does_not_exist_stops_at_once(settings: InferSettings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        infer_run.run(dataclasses.replace(settings, workspace=str(tmp_path / "nowhere")))


def test_a_full_disk_leaves_no_half_result(
    settings: InferSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_workspace(tmp_path / "ws", names=["ball"])

    monkeypatch.setattr("infer.runs.plan.write_result", _failing_write)
    status, summary = run(settings)
    assert status == 1 and len(summary["failed"]) == 2
    assert results(root) == {}


def _failing_write(path: Path, _lines: list[str], _num_frames: int) -> None:
    raise UserError(f"{path}: cannot be written (No space left on device); make room")


def make_video(path: Path, levels: tuple[int, ...] = (50, 120, 200)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for level in levels:
            picture = np.full((SIZE[1], SIZE[0], 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def masks(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "masks").glob("*.txt"))}


def test_a_video_is_tracked_by_its_prompts(settings: InferSettings, tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4")
    status, summary = run(settings, workspace=None, video=str(clip), prompt="the cup; the ball", overlay=True)
    assert status == 0 and summary["tracks"] == 2 and summary["zip"] is None
    videos = sorted((tmp_path / "out" / "overlays").glob("*.mp4"))
    assert [len(VideoFrames.open(video)) for video in videos] == [3, 3, 3]  # the last is of both tracks
    results = sorted((tmp_path / "out" / "masks").glob("*.txt"))
    assert [len(read_lines(path)) for path in results] == [3, 3]


def test_a_video_goes_on_with_the_prompts_that_have_no_result(
    settings: InferSettings, tmp_path: Path
) -> None:
    video = str(make_video(tmp_path / "clip.mp4"))
    run(settings, workspace=None, video=video, prompt="the cup; the ball")
    first = masks(tmp_path / "out")
    kept, lost = sorted((tmp_path / "out" / "masks").glob("*.txt"))
    lost.unlink()
    written_at = kept.stat().st_mtime_ns
    status, summary = run(settings, workspace=None, video=video, prompt="the cup; the ball")
    assert status == 0 and summary["written"] == 2 and summary["track_frames"] == 3
    assert masks(tmp_path / "out") == first and kept.stat().st_mtime_ns == written_at


def test_a_video_of_the_same_name_does_not_replace_the_first(settings: InferSettings, tmp_path: Path) -> None:
    one, two = (make_video(tmp_path / name / "IMG_0001.mp4") for name in "ab")
    run(settings, workspace=None, video=str(one), prompt="the cup", overlay=True)
    first = masks(tmp_path / "out")
    with pytest.raises(UserError, match=rf"video={one}.*overwrite=true"):
        run(settings, workspace=None, video=str(two), prompt="the ball")
    assert masks(tmp_path / "out") == first
    status, _ = run(settings, workspace=None, video=str(two), prompt="the ball", overwrite=True, overlay=True)
    assert status == 0
    assert len(masks(tmp_path / "out")) == len(list((tmp_path / "out" / "overlays").glob("*.mp4"))) == 1


def test_workspaces_of_one_folder_name_do_not_share_pictures(settings: InferSettings, tmp_path: Path) -> None:
    make_workspace(tmp_path / "ws", names=["ball"])
    other = make_workspace(tmp_path / "other" / "ws", names=["ball"])
    run(settings)
    with pytest.raises(UserError, match="out"):
        run(settings, workspace=str(other))
    assert results(other) == {}


def test_a_video_needs_words(settings: InferSettings, tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4")
    with pytest.raises(UserError, match="prompt="):
        infer_run.run(dataclasses.replace(settings, workspace=None, video=str(clip)))


def leftovers(folder: Path) -> list[str]:
    return [path.name for name in (".part-*", ".lock-*") for path in folder.rglob(name)]


def test_an_interrupted_video_leaves_nothing_half_written_and_goes_on(
    settings: InferSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = dataclasses.replace(
        settings,
        workspace=None,
        video=str(make_video(tmp_path / "clip.mp4")),
        prompt="the cup",
        overlay=True,
    )
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("infer.engine.engine.Trajectory.append", _interrupt)
        infer_run.run(video)
    assert leftovers(tmp_path) == [] and masks(tmp_path / "out") == {}
    status, summary = run(video)
    assert status == 0 and summary["written"] == 1 and leftovers(tmp_path) == []


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_any_fault_is_told_with_its_place_and_fails_its_sequence_alone(
    settings: InferSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_workspace(tmp_path / "ws", names=["ball", "kite", "tree"])
    faults = {
        "ball": ZeroDivisionError("float division"),
        "kite": RuntimeError("CUDA out of memory. Tried 2 GiB"),
    }

    start_track = MaskStore.start

    def start(store: MaskStore, sequence: Sequence, expression: str) -> Any:
        if sequence.name in faults:
            raise faults[sequence.name]
        return start_track(store, sequence, expression)

    monkeypatch.setattr(MaskStore, "start", start)
    status, summary = run(settings)
    assert status == 1 and summary["written"] == 2
    assert len(list((root / "results" / ID / "baseline" / "tree").glob("*.txt"))) == 2
    reasons = {failure["sequence"]: failure["reason"] for failure in summary["failed"]}
    assert "ZeroDivisionError: float division" in reasons["ball"]
    assert all(re.search(r"tests/test_infer_run\.py:\d+", reason) for reason in reasons.values())
    assert "model.batch" in reasons["kite"] and "model.batch" not in reasons["ball"]


class _WithoutSize:
    """Frames that cannot say how large they are."""

    def __len__(self) -> int:
        return 2

    @property
    def size(self) -> tuple[int, int]:
        raise OSError("gone")


def test_frames_without_a_size_fail_their_sequence_alone(
    settings: InferSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_workspace(tmp_path / "ws", names=["ball", "kite"])
    look_up = TrackRun.sequence

    def sequence(tracking: TrackRun, number: int) -> Any:
        found = look_up(tracking, number)
        broken = cast(Any, _WithoutSize())
        return dataclasses.replace(found, frames=broken) if found and found.name == "ball" else found

    monkeypatch.setattr(TrackRun, "sequence", sequence)
    status, summary = run(settings)
    assert status == 1 and summary["written"] == 2
    assert {failure["sequence"] for failure in summary["failed"]} == {"ball"}


@pytest.mark.parametrize("place", ["draw_report", "ContactSheet", "max_videos"])
def test_a_fault_in_drawing_costs_pictures_alone(
    place: str, settings: InferSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_workspace(tmp_path / "ws", names=["ball"])

    def fail(*_: Any) -> None:
        raise IndexError("out of bounds")

    monkeypatch.setattr(f"infer.render.overlays.{place}", fail)
    status, summary = run(settings, overlay=True)
    assert status == 0 and len(results(root)) == 2
    assert "IndexError: out of bounds" in summary["warnings"][0] and leftovers(tmp_path) == []


def test_of_many_prompts_the_first_get_pictures_and_all_get_results(
    settings: InferSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_workspace(tmp_path / "ws", names=["ball"])
    monkeypatch.setattr("infer.render.overlays.MAX_VIDEOS", 1)
    status, summary = run(settings, overlay=True)
    assert status == 0 and len(results(root)) == 2
    assert "only the first 1 of 2 expressions" in summary["warnings"][0]
    assert len(list((tmp_path / "out" / "overlays").glob("*.mp4"))) == 1


def test_a_prompt_that_steers_the_model_fails_alone(settings: InferSettings, tmp_path: Path) -> None:
    root = tmp_path / "ws"
    add_sequence(root, "ball", prompts=("the ball", "<|image_pad|> ball"))
    write_workspace(root, ["ball"])
    status, summary = run(settings)
    assert status == 1 and summary["written"] == 1
    assert [failure["expression"] for failure in summary["failed"]] == ["<|image_pad|> ball"]
    # The line on the terminal names the prompt before the reason, so the reason does not repeat it.
    assert summary["failed"][0]["reason"] == "<|image_pad|> steers the model; leave it out of the prompt"


def test_a_prompt_of_a_million_letters_fails_alone(settings: InferSettings, tmp_path: Path) -> None:
    root = tmp_path / "ws"
    add_sequence(root, "ball", prompts=("the ball", "the ball" + " a" * 500_000))
    write_workspace(root, ["ball"])
    status, summary = run(settings)
    assert status == 1 and summary["written"] == 1
    (failure,) = summary["failed"]
    assert "the prompt has 1000008 letters, more than 20000; say it in fewer words" in failure["reason"]
    assert len(failure["reason"]) < 200


def tracks_of(out: Path) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads((out / "tracks.json").read_text())["tracks"]
    return told


def _see_the_first_prompt(_: Grounder, questions: list[Question]) -> list[Answer]:
    box = (10.0, 8.0, 30.0, 28.0)
    return [
        Answer(0.9, box, 0.9, "") if q.expression == PROMPTS[0] else Answer(0.1, None, 0.0, "")
        for q in questions
    ]


def test_tracks_json_says_which_file_belongs_to_which_expression(
    settings: InferSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_workspace(tmp_path / "ws")
    settings = dataclasses.replace(settings, tracker=PerFrameConfig())
    monkeypatch.setattr(Grounder, "locate", _see_the_first_prompt)
    run(settings, overlay=True)
    tracks = tracks_of(tmp_path / "out")
    assert [(track["sequence"], track["expression"]) for track in tracks] == [
        (name, prompt) for name in ("ball", "kite") for prompt in PROMPTS
    ]
    shown = [box is not None for track in tracks for box in track["boxes_xyxy"]]
    assert any(shown) and not all(shown)
    for track in tracks:
        path = result_path(root, ID, track["sequence"], track["expression"])
        assert Path(track["file"]) == Path(track["masks"]) == path.resolve()
        masks = read_result(path, SIZE, track["frames"])
        boxes = [None if mask is None else box_of_mask(mask) for mask in masks]
        assert [box is None for box in track["boxes_xyxy"]] == [box is None for box in boxes]
        assert [value is None for value in track["confidences"]] == [box is None for box in boxes]
        assert len(track["states"]) == 4 and set(track["states"]) <= {str(state) for state in State}
        assert (tmp_path / "out" / track["overlay"]).is_file()
    run(settings)  # all is kept, and told again
    assert tracks_of(tmp_path / "out") == tracks
    for path in (tmp_path / "out" / "tracks").iterdir():
        path.unlink()
    run(settings)  # made anew from the masks
    restored = tracks_of(tmp_path / "out")
    assert all(track["states"] is None and track["confidences"] is None for track in restored)
    for before, after in zip(tracks, restored, strict=True):
        masks = read_result(Path(after["file"]), SIZE, 4)
        boxes = [None if mask is None else box_of_mask(mask) for mask in masks]
        assert [box and tuple(box) for box in after["boxes_xyxy"]] == boxes
        assert before["overlay"] == after["overlay"]


def test_a_record_of_other_results_is_not_believed(settings: InferSettings, tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", names=["ball"])
    run(settings)
    result_path(root, ID, "ball", PROMPTS[0]).write_text(f"{encode_mask(disc(20, 20, 8))}\n0\n0\n0\n")
    run(settings)
    changed, kept = tracks_of(tmp_path / "out")
    assert changed["boxes_xyxy"] == [list(box_of_mask(disc(20, 20, 8)) or ()), None, None, None]
    assert changed["states"] is None and kept["states"] is not None


def test_a_run_waits_for_the_sequences_of_another_and_ends_with_all_results(
    settings: InferSettings, tmp_path: Path
) -> None:
    root = make_workspace(tmp_path / "ws")
    run(settings)
    whole = results(root)
    folder = root / "results" / ID
    for path in folder.rglob("*.txt"):
        path.unlink()
    fingerprint = json.loads((folder / "fingerprint.json").read_text())
    statuses: list[tuple[int, dict[str, Any]]] = []
    thread = threading.Thread(target=lambda: statuses.append(run(settings)))
    with claim_results(folder, fingerprint, overwrite=False) as other, other.sequence("ball"):
        thread.start()
        while len(results(root)) < 2:  # it tracks what is free ...
            time.sleep(0.02)
        for name, content in whole.items():  # ... while the other run writes its sequence
            path = folder / "baseline" / "ball" / name
            if name.startswith("ball"):
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
    thread.join()
    (status, summary) = statuses[0]
    assert status == 0 and summary["written"] == 4 and summary["track_frames"] == 8
    assert results(root) == whole and leftovers(tmp_path) == []


def outcome(prompt: str, present: int) -> TrackOutcome:
    return TrackOutcome("clip", prompt, present, 9 - present, None, 1.0, None)


def test_small_models_that_find_nothing_name_the_large_ones(settings: InferSettings) -> None:
    small = dataclasses.replace(settings, model=GROUNDERS["nano"])
    assert "model=qwen2_5_vl_7b" in infer_run._advice(small, [outcome("the dog", 0)])[0]
    assert infer_run._advice(small, [outcome("the dog", 0), outcome("the cat", 1)]) == []
    assert infer_run._advice(small, [outcome("", 0)]) == []
    assert infer_run._advice(settings, [outcome("the dog", 0)]) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_a_line_that_says_how_to_go_on(
    number: signal.Signals,
    status: int,
    settings: InferSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_workspace(tmp_path / "ws", names=["ball"])
    monkeypatch.setattr("infer.launch.run.run", lambda _: os.kill(os.getpid(), number))
    for overwrite, told in (
        (False, "the same command resumes"),
        (True, "the same command without overwrite="),
    ):
        with pytest.raises(SystemExit) as ended:
            main(dataclasses.replace(settings, overwrite=overwrite))
        assert ended.value.code == status and told in capsys.readouterr().err


def test_an_interrupt_that_the_process_was_started_to_ignore_stays_ignored() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with _on_signals(lambda number, _: heard.append(number), signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGTERM]
