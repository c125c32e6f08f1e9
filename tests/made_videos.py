"""Small videos, made by tests."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

SIZE = (96, 64)


def scenes(count: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Pictures RGB uint8 of a red square that moves over a slope of grey, with noise of its own each."""
    width, height = size
    slope = np.linspace(20, 180, width * height).reshape(height, width, 1).astype(np.uint8)
    pictures = []
    for i in range(count):
        picture = slope + np.random.default_rng(i).integers(0, 30, (height, width, 3), dtype=np.uint8)
        picture[height // 4 : height // 2, width // 8 + i : width // 8 + i + 20] = (220, 30, 30)
        pictures.append(picture)
    return pictures


def write_film(
    path: Path,
    pictures: Sequence[np.ndarray],
    codec: str = "libx264",
    form: str | None = None,
    rate: Fraction | int = 25,
    options: dict[str, str] | None = None,
    shown: tuple[int, bool] | None = None,
    times: Sequence[int] | None = None,
) -> bytes:
    """Write a video.

    `shown` is its display matrix: degrees against the clock, and whether it is mirrored. `times` are those of
    the frames in units of 1 / `rate` seconds; 0, 1, 2 and so on if not given.
    """
    with av.open(str(path), "w", format=form, options=options or {}) as container:
        still = codec == "mjpeg"  # has no B-frames, and another range of values
        more = {} if still else {"crf": "16", "bf": "2"}
        stream = container.add_stream(codec, rate=rate, options={"threads": "1", **more})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if still else "yuv420p"
        if shown is not None:
            stream.set_display_rotation(shown[0], hflip=shown[1])
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = times[i] if times else i, 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def by_opencv(path: Path) -> list[np.ndarray]:
    """The frames of a video as OpenCV reads them, RGB."""
    film, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = film.read()
        if not there:
            return frames
        frames.append(frame[..., ::-1])
