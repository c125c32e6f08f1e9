"""Decoding a video file with FFmpeg (through PyAV).

Only single files are opened, never what a playlist refers to. The stream that is decoded is the one that
OpenCV would choose, except that cover images are skipped.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import av
import av.logging
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from configs.errors import UserError
from data_prep.geometry import Size
from data_prep.video.images import matrix_orientation, upright, upright_size

WHOLE = "get the complete file again"
DEFAULT_FPS = 25.0  # for files that do not tell their frame rate

# Demuxers that read a single file. Playlists (HLS, DASH, concat, SDP, image patterns) are excluded, because
# they would open other files and network addresses.
CONTAINERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h263,h264,hevc,vvc,obu,ivf,flv,live_flv,ogg,asf,mxf,nut,"
    "dv,rm,yuv4mpegpipe,wtv,mjpeg,gxf,vc1,dirac,swf,nsv,roq,flic,r3d,mpjpeg"
)
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
PROBED = 64  # packets that are examined to distinguish the video from a cover image
av.logging.set_libav_level(av.logging.PANIC)  # faults are reported by this module, once


def check_video(path: Path) -> None:
    """Raise UserError where there is no such file. Whether it is a video is only known when it is decoded."""
    if not path.is_file():
        raise UserError(f"{path}: no such video; check video=")


def first_frame(path: Path) -> tuple[Size, int]:
    """The size of the first frame, upright, and the number of frames by the header (0: not given).

    Only the first frame is decoded. Raises UserError as `scan_video` does.
    """
    check_video(path)
    with opened_video(path, strict=False) as (container, stream):
        # A packet may complete no frame or several, since frames are reordered.
        for packet in container.demux(stream):
            for frame in frames_of_packet(packet):
                return frame_size(frame), stream.frames
    raise UserError(f"{path}: holds no frame that can be decoded; it is damaged or empty")


def frames_in(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a video file, RGB uint8 (height, width, 3), upright.

    Packets that cannot be decoded are skipped. Raises UserError where the file cannot be opened.
    """
    with opened_video(path, strict=False) as (container, stream):
        try:
            for packet in container.demux(stream):
                for frame in frames_of_packet(packet):
                    # Each decoded frame has its own display matrix, which may change within a file.
                    yield upright(frame.to_ndarray(format="rgb24"), matrix_orientation(frame))
        except av.FFmpegError:
            return  # `scan_video` has reported that the file cannot be read beyond this


@contextmanager
def opened_video(path: Path, strict: bool) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file and its main stream."""
    with _container(path) as container:
        number = _main_stream(container)
    with _container(path) as container:  # open it again: finding the main stream may have read packets
        stream = container.streams.video[number]
        # FFmpeg may know the container but not the codec in it.
        if stream.codec_context is None:
            raise UserError(f"{path}: its video codec is not known to FFmpeg; convert it, to H.264 say")
        if strict:
            # With several threads FFmpeg hides faults.
            stream.codec_context.options = {"err_detect": "explode", "threads": "1"}
        yield container, stream


def _main_stream(container: InputContainer) -> int:
    """The number of the first video stream that has two packets or more.

    OpenCV takes the first stream. Programs that download videos put a cover image in front, which is not
    always marked as such; it has a single packet.
    """
    # Most files have one video stream.
    streams = container.streams.video
    if len(streams) == 1:
        return 0
    # Count the packets of each stream at the beginning of the file.
    places, packets = {stream.index: place for place, stream in enumerate(streams)}, Counter[int]()
    with suppress(av.FFmpegError):
        for packet in islice(container.demux(streams), PROBED):
            packets[places[packet.stream.index]] += bool(packet.size)
    return min((place for place, number in packets.items() if number > 1), default=0)


@contextmanager
def _container(path: Path) -> Iterator[InputContainer]:
    """Open a video file. Raises UserError where it is not a video file or has no video stream."""
    try:
        # "file:" keeps names such as "concat:a.mp4" from being taken for a protocol.
        # Text in the metadata may have any encoding; an error in it must not stop decoding.
        container = av.open(f"file:{os.fspath(path)}", options=OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise UserError(f"{path}: not a video that can be decoded ({reason}); check video=") from None
    with container:
        if not container.streams.video:
            raise UserError(f"{path}: holds no video stream; check video=")
        yield container


def frames_of_packet(packet: av.Packet) -> list[av.VideoFrame]:
    """The frames that a packet completes. A packet that cannot be decoded is skipped, as by OpenCV."""
    try:
        return [frame for frame in packet.decode() if isinstance(frame, av.VideoFrame)]
    except (av.FFmpegError, ValueError):
        return []


def frame_size(frame: av.VideoFrame) -> Size:
    """Width and height of a decoded frame, upright."""
    return upright_size((frame.width, frame.height), matrix_orientation(frame))


def frame_rate(stream: VideoStream) -> float:
    """Frames per second: the average, or the value of the header."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate:
            return float(rate)
    return DEFAULT_FPS
