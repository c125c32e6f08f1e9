"""Videos: what is written decodes again, whole, or is not there at all."""

from pathlib import Path

import av
import numpy as np
import pytest

from configs.errors import UserError
from data_prep.sequence import Sequence
from data_prep.video.frames import ImageFrames
from infer.engine.engine import Step
from infer.render.overlays import Overlays
from infer.render.video_writer import VideoWriter, video_size
from infer.trackers.requests import Report, State


def write(path: Path, size: tuple[int, int], count: int, fps: float = 25.0) -> None:
    """A video whose frame `i` is of one grey, that gets lighter."""
    with VideoWriter(path, fps) as video:
        for i in range(count):
            video.write(np.full((size[1], size[0], 3), 40 + 10 * i, np.uint8))


@pytest.mark.parametrize(
    ("size", "stored"),
    [((64, 48), (64, 48)), ((65, 49), (66, 50)), ((1920, 1081), (1280, 722)), ((1281, 33), (1280, 34))],
)
def test_every_frame_decodes_at_its_size(
    tmp_path: Path, size: tuple[int, int], stored: tuple[int, int]
) -> None:
    write(tmp_path / "a.mp4", size, 7)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert video_size(size) == stored
    assert [frame.shape for frame in frames] == [(stored[1], stored[0], 3)] * 7
    assert [frame.mean() for frame in frames] == pytest.approx([40 + 10 * i for i in range(7)], abs=3)


@pytest.mark.parametrize("fps", [1.0, 7.5, 25.0, 29.97, 30000 / 1001, 60.0])
def test_the_rate_is_kept(tmp_path: Path, fps: float) -> None:
    write(tmp_path / "a.mp4", (64, 48), 5, fps)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (
            stream.average_rate is not None and stream.duration is not None and stream.time_base is not None
        )
        assert float(stream.average_rate) == pytest.approx(fps, rel=1e-3)
        assert float(stream.duration * stream.time_base) == pytest.approx(5 / fps, rel=1e-2)


@pytest.mark.parametrize(
    ("fps", "written"),
    [(1e-9, 0.1), (1 / 3600, 0.1), (0.5, 0.5), (240.0, 240.0), (90000.0, 240.0), (1e300, 240.0)],
)
def test_a_rate_at_which_nobody_can_watch_becomes_one_that_plays(
    tmp_path: Path, fps: float, written: float
) -> None:
    write(tmp_path / "a.mp4", (64, 48), 3, fps)
    with av.open(str(tmp_path / "a.mp4")) as container:
        rate = container.streams.video[0].average_rate
        assert rate is not None and float(rate) == pytest.approx(written, rel=1e-3)
        assert len(list(container.decode(video=0))) == 3


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 2), (1, 3000), (3000, 1), (20000, 8), (8, 20000), (1281, 2161), (5000, 40)]
)
def test_frames_of_any_shape_are_drawn_and_play(tmp_path: Path, size: tuple[int, int]) -> None:
    """With mask, box and caption, as the pictures of a run have them."""
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    mask = np.zeros(image.shape[:2], bool)
    mask[: max(1, size[1] // 2), : max(1, size[0] // 2)] = True
    reports = [Report(State.TRACK, mask, (0, 0, size[0] / 2, size[1] / 2), 0.9), Report(State.LOST)]
    sequence = Sequence("a", ImageFrames((Path("1.jpg"), Path("2.jpg")), size), ("the red cup",))
    pictures = Overlays(tmp_path)
    drawn = pictures.of_sequence(sequence, ["the red cup"])
    drawn.open()
    for index, report in enumerate(reports):
        drawn.add(Step(index, image, [report]))
    drawn.finish()
    drawn.close()
    assert pictures.warnings == []
    (video,) = (tmp_path / "overlays").glob("*.mp4")
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) <= (1280, 2162) and len(list(container.decode(stream))) == 2


def test_one_frame_makes_a_video(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", (64, 48), 1, 10.0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert len(list(container.decode(video=0))) == 1
        assert container.duration == pytest.approx(0.1 * av.time_base, rel=0.05)


def test_browsers_can_play_it(tmp_path: Path) -> None:
    """H.264 in yuv420p, and the index before the pictures so that playing begins at once."""
    write(tmp_path / "a.mp4", (64, 48), 3)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_colours_come_back(tmp_path: Path) -> None:
    image = np.zeros((48, 96, 3), np.uint8)
    image[:, :32], image[:, 32:64], image[:, 64:] = (230, 30, 20), (30, 200, 40), (255, 32, 160)
    with VideoWriter(tmp_path / "a.mp4", 25) as video:
        video.write(image)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(iter(container.decode(video=0)))
    assert frame.colorspace == 1  # BT.709, which players assume
    decoded = frame.to_ndarray(format="rgb24").astype(int)
    for middle in (16, 48, 80):
        assert np.abs(decoded[24, middle] - image[24, middle]).max() < 12


def test_nothing_is_left_after_an_exception(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match="not the video's fault"),
        VideoWriter(tmp_path / "a.mp4", 25) as video,
    ):
        video.write(np.zeros((48, 64, 3), np.uint8))
        raise FileNotFoundError("not the video's fault")
    assert list(tmp_path.iterdir()) == []


def test_an_older_video_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", 25) as video:
        video.write(np.zeros((48, 64, 3), np.uint8))
        assert (tmp_path / "a.mp4").read_bytes() == b"old"
        raise KeyboardInterrupt
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_mistakes_are_told_and_leave_nothing(tmp_path: Path) -> None:
    for fps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="fps"):
            VideoWriter(tmp_path / "a.mp4", fps)
    with pytest.raises(ValueError, match="needs a frame"), VideoWriter(tmp_path / "a.mp4", 25):
        pass
    with pytest.raises(ValueError, match="among frames"), VideoWriter(tmp_path / "a.mp4", 25) as video:
        video.write(np.zeros((48, 64, 3), np.uint8))
        video.write(np.zeros((48, 66, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), VideoWriter(tmp_path / "file" / "a.mp4", 25):
        pass


def test_the_same_frames_make_the_same_bytes(tmp_path: Path) -> None:
    """Whatever lay before in the memory that the encoder takes: x264 once read it."""
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 255, (30, 40, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
    contents = set()
    for number in range(5):
        junk = [rng.integers(0, 255, size, np.uint8) for size in rng.integers(1000, 4_000_000, 5)]
        del junk
        with VideoWriter(tmp_path / f"{number}.mp4", 12.0) as video:
            for i in range(36):
                moved = np.roll(scene, (3 * i, 5 * i), (0, 1))[:344, :480].copy()
                moved[100:140, 10 * i : 10 * i + 40] = (220, 40, 40)
                video.write(moved)
        contents.add((tmp_path / f"{number}.mp4").read_bytes())
    assert len(contents) == 1
