"""Video files: upright, whole or told, and nothing else is opened for them."""

import re
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from data_prep.video.decoding import first_frame
from data_prep.video.frames import AnimationFrames, VideoFrames
from data_prep.video.images import upright
from tests.made_videos import SIZE, by_opencv, scenes, write_film

PICTURES = scenes(20)


def off(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean()) if a.shape == b.shape else np.inf


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_phones_video_is_upright(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    """As a player shows it; as OpenCV reads it, which knows no mirror."""
    path = tmp_path / "phone.mp4"
    write_film(path, PICTURES[:3], shown=(degrees, mirrored))
    # The matrix turns first and mirrors then.
    expected = [np.rot90(picture, degrees // 90) for picture in PICTURES[:3]]
    expected = [picture[:, ::-1] if mirrored else picture for picture in expected]
    video = VideoFrames.open(path)
    assert video.size == expected[0].shape[1::-1] == first_frame(path)[0]
    assert max(off(a, b) for a, b in zip(video, expected, strict=True)) < 8
    if not mirrored:
        assert max(off(a, b) for a, b in zip(video, by_opencv(path), strict=True)) < 1


def test_an_orientation_undone_is_the_picture() -> None:
    picture = PICTURES[0]
    undone = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    for orientation, back in undone.items():
        assert np.array_equal(upright(upright(picture, orientation), back), picture)


FORMS = [
    ("a.mkv", "libx264", None, {}),
    ("a.ts", "libx264", "mpegts", {}),
    ("a.h264", "libx264", "h264", {}),
    ("a.mp4", "libx264", None, {"movflags": "faststart"}),
    ("a.avi", "mpeg4", None, {}),
    ("a.flv", "libx264", None, {}),
]


@pytest.mark.parametrize(("name", "codec", "form", "options"), FORMS)
def test_a_file_that_is_cut_short_is_read_as_far_as_it_goes_and_told(
    tmp_path: Path, name: str, codec: str, form: str | None, options: dict[str, str]
) -> None:
    path = tmp_path / name
    data = write_film(path, PICTURES, codec, form, options=options)
    whole = VideoFrames.open(path)
    assert (len(whole), whole.warnings) == (20, ())
    frames = list(whole)
    for share in (0.73, 0.8, 0.93):
        path.write_bytes(data[: int(len(data) * share)])
        cut = VideoFrames.open(path)
        found = list(cut)
        assert 0 < len(cut) == len(found) and len(by_opencv(path)) <= len(cut) <= 20
        assert f"{path}: cut short: nothing can be read after frame {len(cut)};" in cut.warnings[-1]
        assert all(np.array_equal(a, b) for a, b in zip(found[:-4], frames, strict=False))


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4"])
def test_whole_frames_that_are_missing_within_an_avi_are_told(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "a.avi"
    data = write_film(path, PICTURES, codec)
    frames = re.compile(b"00dc").finditer(data, data.index(b"movi"), data.index(b"idx1"))
    starts = [match.start() for match in frames]
    assert len(starts) == 20
    path.write_bytes(data[: starts[8]] + data[starts[11] :])
    cut = VideoFrames.open(path)
    assert len(list(cut)) == len(cut) < 20
    assert len(cut.warnings) >= 1
    if codec == "mjpeg":  # every frame of which is complete in itself, so nothing else shows it
        assert f"holds {len(cut)} of the 20 frames that its header names" in cut.warnings[-1]


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_an_animated_image_is_a_video(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    first, *others = (Image.fromarray(picture) for picture in PICTURES)
    first.save(path, save_all=True, append_images=others, duration=40, lossless=True)
    video = AnimationFrames.open(path)
    assert (video.size, len(video), video.fps, video.warnings) == (SIZE, 20, 25, ())
    assert max(off(a, b) for a, b in zip(video, PICTURES, strict=True)) < (12 if name == "a.gif" else 0.1)
    data = path.read_bytes()
    for size in (len(data) * 6 // 10, len(data) - 1):  # without a GIF's trailer, or a PNG's last check sum
        path.write_bytes(data[:size])
        if name == "a.webp":  # its library reads all of it or nothing
            with pytest.raises(UserError, match=r"a\.webp: frame cannot be read"):
                AnimationFrames.open(path)
            continue
        cut = AnimationFrames.open(path)
        assert 0 < len(cut) <= 20 and len(list(cut)) == len(cut)
        told = [f"{path}: cut short: nothing can be read after frame {len(cut)}; get the complete file again"]
        assert list(cut.warnings) == ([] if (name, len(cut)) == ("a.png", 20) else told)


def test_damage_within_is_told_and_the_rest_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    data = bytearray(write_film(path, PICTURES, options={"movflags": "faststart"}))
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 4000] = bytes(4000)  # some packets whole, and where the next begin
    path.write_bytes(data)
    video = VideoFrames.open(path)
    assert len(list(video)) == len(video) >= 6
    assert any("damaged, the first is frame" in line or "left out" in line for line in video.warnings)


def test_a_change_of_size_is_scaled_as_by_opencv_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.h264"
    small = [cv2.resize(picture, (48, 32)) for picture in PICTURES[5:9]]
    path.write_bytes(
        write_film(tmp_path / "1.h264", PICTURES[:5], form="h264")
        + write_film(tmp_path / "2.h264", small, form="h264")
    )
    video = VideoFrames.open(path)
    assert (video.size, len(video)) == (SIZE, 9)
    assert max(off(a, b) for a, b in zip(video, by_opencv(path), strict=True)) < 8
    assert "from frame 6 on it is 48x32 instead of 96x64" in video.warnings[0]


def test_a_cover_picture_is_not_the_film(tmp_path: Path) -> None:
    import av

    path = tmp_path / "cover.mkv"
    with av.open(str(path), "w") as container:
        cover, film = container.add_stream("mjpeg", rate=25), container.add_stream("mpeg4", rate=25)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        film.width, film.height, film.pix_fmt = *SIZE, "yuv420p"
        for stream, pictures in ((cover, scenes(1, (32, 32))), (film, PICTURES)):
            for i, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = i
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    video = VideoFrames.open(path)
    assert (video.size, len(video), len(list(video))) == (SIZE, 20, 20)


def test_what_holds_no_frame_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    data = write_film(path, PICTURES)
    contents = {
        "no_frames.mkv": data[: data.index(b"\x1f\x43\xb6\x75") + 16],
        "no_frames.y4m": b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg\n",
        "empty.mp4": b"",
        "text.mp4": b"not a video\n" * 50,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=r"holds no frame that can be decoded|not a video") as told:
            VideoFrames.open(tmp_path / name)
        assert str(told.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(told.value)


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    film = tmp_path / "a.ts"
    write_film(film, PICTURES, form="mpegts")
    for name, content in {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{film}\n#EXT-X-ENDLIST\n",
        "concat.mp4": f"ffconcat version 1.0\nfile {film.name}\n",
        "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    }.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match="not a video that can be decoded"):
            VideoFrames.open(tmp_path / name)


def test_a_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_film(tmp_path / "a.mkv", PICTURES[:2])
    (tmp_path / "a.mkv").rename(tmp_path / "concat:a.mkv")
    monkeypatch.chdir(tmp_path)
    assert len(VideoFrames.open(Path("concat:a.mkv"))) == 2


@pytest.mark.parametrize("name", ["phone.mp4", "phone.mkv"])
def test_a_variable_frame_rate_is_the_mean_over_the_frames(tmp_path: Path, name: str) -> None:
    """The header of the MP4 says 64.5 frames a second, that of the MKV 600."""
    times = [0, 1, 2, 10, 11, 40, 41, 90, 400, 401]  # in 1/600 s
    write_film(tmp_path / name, scenes(10), rate=600, times=times)
    video = VideoFrames.open(tmp_path / name)
    assert (len(video), video.warnings) == (10, ()) and video.fps == pytest.approx(9 * 600 / 401, rel=0.01)


def test_a_frame_an_hour_is_no_cut(tmp_path: Path) -> None:
    write_film(tmp_path / "slow.mkv", PICTURES[:4], "mpeg4", rate=Fraction(1, 3600))
    video = VideoFrames.open(tmp_path / "slow.mkv")
    assert (len(video), video.warnings) == (4, ()) and video.fps == pytest.approx(1 / 3600, rel=0.01)
