"""Writing videos that browsers can play: MP4 with H.264 and yuv420p, and the index before the frames."""

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

# H.264 allows 16384 pixels a side, but many players refuse such videos.
MAX_WIDTH, MAX_HEIGHT = 1280, 2160
MIN_FPS, MAX_FPS = 0.1, 240.0
WRITE_FAULTS = (av.FFmpegError, OSError)


class VideoWriter:
    """Writes RGB frames to an MP4, one by one, so that memory does not grow with their number.

        with VideoWriter(path, fps=7.5) as video:
            video.write(image)

    The file appears when the block ends without an exception; after an exception nothing is left of it.
    Frames larger than `MAX_WIDTH` x `MAX_HEIGHT` are scaled down. An odd side is padded by one pixel, because
    yuv420p needs even ones. The frame rate is clipped to `MIN_FPS` to `MAX_FPS`: MP4 has no time scale for
    one frame per hour.

    Raises UserError if the file cannot be written, and ValueError for a rate that is not positive, a block
    without frames, or frames of different sizes.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if not (isfinite(fps) and fps > 0):
            raise ValueError(f"{path}: fps must be above 0, not {fps}")
        self.path = path
        self._rate = Fraction(min(max(fps, MIN_FPS), MAX_FPS)).limit_denominator(
            1001
        )  # NTSC rates are fractions over 1001
        self._frame_size: Size = (0, 0)
        self._count = 0
        self._container: OutputContainer
        self._stream: VideoStream
        self._open: AbstractContextManager[None] = self._opened()

    def __enter__(self) -> Self:
        with _write_errors(self.path):
            self._open.__enter__()
        return self

    def write(self, image: np.ndarray) -> None:
        """Append a frame, RGB uint8 (height, width, 3)."""
        # The size of the video is known with its first frame, so the stream is added here.
        size = (image.shape[1], image.shape[0])
        if self._count == 0:
            self._frame_size, self._stream = size, self._add_stream(video_size(size))
        if size != self._frame_size:
            raise ValueError(f"{self.path}: a frame of {size} among frames of {self._frame_size}")
        frame = _to_yuv(_fit(image, video_size(size)))
        # One tick of the clock per frame, which makes the frame rate constant.
        frame.pts, frame.time_base = self._count, 1 / self._rate
        self._count += 1
        with _write_errors(self.path):
            self._container.mux(self._stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is not None:  # an exception of the block, even an OSError, is not a failure to write
            return self._open.__exit__(kind, fault, trace)
        with _write_errors(self.path):
            return self._open.__exit__(None, None, None)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Hold the file open. It is completed if the block succeeds, and removed if it fails."""
        with whole_file(self.path) as temporary:
            # faststart: the index comes before the frames, so a browser can play the video while it loads.
            options = {"movflags": "faststart"}
            self._container = av.open(str(temporary), "w", format="mp4", options=options)
            try:
                yield
                self._finish()
            finally:
                # After `_finish` it is closed already. After an exception of the block, that one is reported.
                with suppress(*WRITE_FAULTS):
                    self._container.close()

    def _finish(self) -> None:
        if self._count == 0:
            raise ValueError(f"{self.path}: a video needs a frame")
        # None flushes the frames that the encoder still holds back.
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def _add_stream(self, size: Size) -> VideoStream:
        """Add the video stream."""
        # One encoding thread: a run writes many videos at once, and the bytes do not depend on the number of
        # cores. The low crf keeps thin lines and text readable; the preset prefers speed to size. x264 reads
        # uninitialized memory in its macroblock-tree rate control (observed with core 165), so that equal
        # frames gave other bytes in every run; without it, files are about 6 % larger.
        options = {"crf": "20", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
        stream = self._container.add_stream("libx264", rate=self._rate, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        # Without these tags players guess the colour space from the size of the video, and colours differ.
        stream.codec_context.colorspace = int(Colorspace.ITU709)
        stream.codec_context.color_range = int(ColorRange.MPEG)
        stream.codec_context.color_primaries = int(ColorPrimaries.BT709)
        stream.codec_context.color_trc = int(ColorTrc.BT709)
        return stream


def video_size(size: Size) -> Size:
    """The (width, height) of a video of frames of a size: limited, and both even."""
    width, height = limit_size(size)
    return width + width % 2, height + height % 2


def limit_size(size: Size) -> Size:
    """The size scaled down to at most `MAX_WIDTH` x `MAX_HEIGHT`, with at least one pixel a side."""
    scale = min(1.0, MAX_WIDTH / size[0], MAX_HEIGHT / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _fit(image: np.ndarray, size: Size) -> np.ndarray:
    """The frame at the size of the video: scaled down, or padded by repeating its last row and column."""
    height, width = image.shape[:2]
    if width > size[0] or height > size[1]:
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(image, 0, size[1] - height, 0, size[0] - width, cv2.BORDER_REPLICATE)


def _to_yuv(image: np.ndarray) -> av.VideoFrame:
    """A frame for the encoder, in the colour space BT.709, which players assume."""
    rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
    return rgb.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        dst_color_primaries=ColorPrimaries.BT709,
        dst_color_trc=ColorTrc.BT709,
    )


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn a failure to write into a UserError."""
    try:
        yield
    except WRITE_FAULTS as fault:
        reason = fault.strerror or fault
        raise UserError(
            f"{path}: video cannot be written ({reason}); free space or choose another folder"
        ) from None
