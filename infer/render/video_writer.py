"""Writing a video that browsers play: H.264, yuv420p, with its index at the front."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from fractions import Fraction
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from configs.errors import UserError
from data_prep.files import whole_file
from data_prep.geometry import Size

MAX_WIDTH, MAX_HEIGHT = 1280, 2160  # H.264 ends at 16384 pixels a side, and players before
MIN_FPS, MAX_FPS = 0.1, 240.0
WRITE_FAULTS = (av.FFmpegError, OSError)


class VideoWriter:
    """Writes RGB frames to an MP4, one by one, in a memory that does not grow with their number.

        with VideoWriter(path, fps=7.5) as video:
            video.write(image)

    The file appears when the block ends well; after an exception nothing is left of it. Frames larger
    than `MAX_WIDTH` x `MAX_HEIGHT` are scaled down, and an odd side gets a pixel more, since yuv420p wants
    even ones. Rates outside `MIN_FPS` to `MAX_FPS` become the nearer of the two: a film of one frame an
    hour could not be looked at, and MP4 has no time scale for it.

    Raises UserError where the file cannot be written; ValueError for a rate that is none, a block
    without a frame, and frames of different sizes.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if not (isfinite(fps) and fps > 0):
            raise ValueError(f"{path}: fps must be above 0, not {fps}")
        self.path = path
        self._rate = Fraction(min(max(fps, MIN_FPS), MAX_FPS)).limit_denominator(
            1001
        )  # television's rates are n/1001
        self._frame_size: Size = (0, 0)
        self._count = 0
        self._container: OutputContainer
        self._stream: VideoStream
        self._open: AbstractContextManager[None] = self._opened()

    def __enter__(self) -> Self:
        with _told(self.path):
            self._open.__enter__()
        return self

    def write(self, image: np.ndarray) -> None:
        """Append a frame, RGB uint8 (height, width, 3)."""
        size = (image.shape[1], image.shape[0])
        if self._count == 0:
            self._frame_size, self._stream = size, self._add_stream(video_size(size))
        if size != self._frame_size:
            raise ValueError(f"{self.path}: a frame of {size} among frames of {self._frame_size}")
        frame = _yuv(_fitted(image, video_size(size)))
        frame.pts, frame.time_base = self._count, 1 / self._rate
        self._count += 1
        with _told(self.path):
            self._container.mux(self._stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is not None:  # not ours, though it may be an OSError: it goes on as it is
            return self._open.__exit__(kind, fault, trace)
        with _told(self.path):
            return self._open.__exit__(None, None, None)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """The file's life: begun, finished when the block ends well, removed when it does not."""
        with whole_file(self.path) as temporary:
            options = {"movflags": "faststart"}
            self._container = av.open(str(temporary), "w", format="mp4", options=options)
            try:
                yield
                self._finish()
            finally:
                with suppress(*WRITE_FAULTS):  # closed already, or the block's own exception matters more
                    self._container.close()

    def _finish(self) -> None:
        if self._count == 0:
            raise ValueError(f"{self.path}: a video needs a frame")
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def _add_stream(self, size: Size) -> VideoStream:
        """One encoding thread: a run writes many videos at once, and the bytes do not vary with cores."""
        stream = self._container.add_stream(
            "libx264", rate=self._rate, options={"crf": "20", "preset": "veryfast", "threads": "1"}
        )
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = int(Colorspace.ITU709)
        stream.codec_context.color_range = int(ColorRange.MPEG)
        stream.codec_context.color_primaries = int(ColorPrimaries.BT709)
        stream.codec_context.color_trc = int(ColorTrc.BT709)
        return stream


def video_size(size: Size) -> Size:
    """Width and height of the video of frames of a size: as `limited`, and both even."""
    width, height = limited(size)
    return width + width % 2, height + height % 2


def limited(size: Size) -> Size:
    """A size of the same shape that is at most `MAX_WIDTH` x `MAX_HEIGHT`, of one pixel a side or more."""
    scale = min(1.0, MAX_WIDTH / size[0], MAX_HEIGHT / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _fitted(image: np.ndarray, size: Size) -> np.ndarray:
    """The frame at the video's size: scaled if it is larger, else its last row and column repeated."""
    height, width = image.shape[:2]
    if width > size[0] or height > size[1]:
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(image, 0, size[1] - height, 0, size[0] - width, cv2.BORDER_REPLICATE)


def _yuv(image: np.ndarray) -> av.VideoFrame:
    """A frame for the encoder, in the colours of BT.709, which is what players take a video for."""
    rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
    return rgb.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        dst_color_primaries=ColorPrimaries.BT709,
        dst_color_trc=ColorTrc.BT709,
    )


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn a failure to write into a UserError."""
    try:
        yield
    except WRITE_FAULTS as fault:
        reason = fault.strerror or fault
        raise UserError(
            f"{path}: video cannot be written ({reason}); free space or choose another folder"
        ) from None
