"""Decoding a video file with FFmpeg, and what is wrong with one that is damaged or cut short.

FFmpeg hides damage: it paints over what it cannot decode and ends where a file ends. So a file is scanned
once before it is used. The scan decodes it strictly; where that meets a fault, a second pass decodes as far
as possible, which is what readers get. What is lost is told in warnings.
"""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import av
import av.logging
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from configs.errors import UserError
from data_prep.geometry import Size
from data_prep.orientation import matrix_orientation, upright, upright_size
from data_prep.video_ends import ends_early

WHOLE = "get the file again whole"
WRONG_RATE = 0.1  # a header's frame rate further than this share from the frames' times is not used
DEFAULT_FPS = 25.0  # of a file that does not tell its own

# Demuxers that read one file. Playlists (HLS, DASH, concat, SDP, image patterns) are not among them: they
# would open other files and addresses.
CONTAINERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h263,h264,hevc,vvc,obu,ivf,flv,live_flv,ogg,asf,mxf,nut,"
    "dv,rm,yuv4mpegpipe,wtv,mjpeg,gxf,vc1,dirac,swf,nsv,roq,flic,r3d,mpjpeg"
)
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
TELL_DURATION = {"mov", "matroska", "flv", "asf"}  # in their headers; of others it is an estimate
PROBED = 64  # packets by which the film is told from a cover picture
SLACK = 1.5  # frame intervals by which a file may end before its header says

av.logging.set_libav_level(av.logging.PANIC)  # faults are told in our words, once


@dataclass(frozen=True)
class Scan:
    """What a video file holds: `count` frames of `size` (width, height), upright; warnings, a line each."""

    size: Size
    count: int
    fps: float
    warnings: tuple[str, ...] = ()


@dataclass
class _Pass:
    """What one decoding of a file met. Times are in the stream's units, frames are numbered from 1."""

    frame_times: list[int] = field(default_factory=list)
    count: int = 0
    sizes: list[tuple[int, Size]] = field(default_factory=list)  # from which frame on which size
    corrupt: list[int] = field(default_factory=list)  # frames that FFmpeg itself calls damaged
    refused: list[tuple[int, int | None]] = field(default_factory=list)  # packets: number and time
    packets: int = 0
    ends_early: bool = False  # by its container the file is longer
    stopped: bool = False  # reading ended with an error, or in the middle of a packet
    end: float = 0.0  # seconds: where the last packet of any stream ends
    duration: float | None = None  # seconds, as the header tells
    fps: float = DEFAULT_FPS
    longest_gap: float = 0.0  # seconds between two frames
    shown: float = 0.0  # seconds from the first frame's start to the last one's end

    @property
    def faultless(self) -> bool:
        return not (self.corrupt or self.refused or self.stopped)

    @property
    def cut_short(self) -> bool:
        """Whether something is missing at the end."""
        if self.stopped or self.ends_early or (self.refused and self.refused[-1][0] == self.packets):
            return True
        slack = SLACK * max(1 / self.fps, self.longest_gap)
        return self.duration is not None and self.end < self.duration - slack

    def frame_of(self, packet: int, time: int | None, frame_times: list[int]) -> int:
        """The frame that a refused packet belongs to: by its time, else by its place."""
        return packet if time is None or not frame_times else bisect_left(frame_times, time) + 1


def check_video(path: Path) -> None:
    """Raise UserError where there is no such video file; that it is one takes decoding it."""
    if not path.is_file():
        raise UserError(f"{path}: no such video; check video=")


def scan_video(path: Path) -> Scan:
    """Decode a video file once to count its frames and to find what is damaged.

    A file of which only some frames can be read is told in `warnings`. Raises UserError where the file is
    missing, is no video, or holds no frame that can be decoded.
    """
    check_video(path)
    strict = _decode(path, strict=True)
    found = strict if strict.faultless else _decode(path, strict=False)
    if found.count == 0:
        raise UserError(f"{path}: holds no frame that can be decoded; it is damaged or empty")
    told = [*_damage(strict, found), *_size_changes(found)]
    return Scan(found.sizes[0][1], found.count, found.fps, tuple(f"{path}: {line}" for line in told))


def first_frame(path: Path) -> tuple[Size, int]:
    """The size of the first frame, upright, and how many frames the header tells (0: it does not).

    Only the first frame is decoded. Raises UserError as `scan_video` does.
    """
    check_video(path)
    with _opened(path, strict=False) as (container, stream):
        for packet in container.demux(stream):
            for frame in _frames(packet):
                return _size(frame), stream.frames
    raise UserError(f"{path}: holds no frame that can be decoded; it is damaged or empty")


def frames_in(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a video file, RGB uint8 (height, width, 3), upright.

    Packets that cannot be decoded are left out. Raises UserError where the file cannot be opened.
    """
    with _opened(path, strict=False) as (container, stream):
        try:
            for packet in container.demux(stream):
                for frame in _frames(packet):
                    yield upright(frame.to_ndarray(format="rgb24"), matrix_orientation(frame))
        except av.FFmpegError:
            return  # the scan told that reading ends here


@contextmanager
def _opened(path: Path, strict: bool) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file and its main stream."""
    with _container(path) as container:
        number = _main_stream(container)
    with _container(path) as container:  # anew: finding the main stream may have read packets
        stream = container.streams.video[number]
        if stream.codec_context is None:
            raise UserError(f"{path}: its video codec is not known to FFmpeg; convert it, to H.264 say")
        if strict:
            # Several threads hide faults.
            stream.codec_context.options = {"err_detect": "explode", "threads": "1"}
        yield container, stream


def _main_stream(container: InputContainer) -> int:
    """The first video stream of two packets or more, as OpenCV takes the first, but not a cover picture.

    Programs that download videos put a cover before the film, not always marked as one.
    """
    streams = container.streams.video
    if len(streams) == 1:
        return 0
    places, packets = {stream.index: place for place, stream in enumerate(streams)}, Counter[int]()
    with suppress(av.FFmpegError):
        for packet in islice(container.demux(streams), PROBED):
            packets[places[packet.stream.index]] += bool(packet.size)
    return min((place for place, number in packets.items() if number > 1), default=0)


@contextmanager
def _container(path: Path) -> Iterator[InputContainer]:
    """Open a video file with pictures; raises UserError where it is none."""
    try:
        # "file:" keeps names such as "concat:a.mp4" from being taken for a protocol.
        container = av.open(f"file:{os.fspath(path)}", options=OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise UserError(f"{path}: not a video that can be decoded ({reason}); check video=") from None
    with container:
        if not container.streams.video:
            raise UserError(f"{path}: holds no pictures; check video=")
        yield container


def _frames(packet: av.Packet) -> list[av.VideoFrame]:
    """The frames that a packet completes; none where it cannot be decoded, as OpenCV does."""
    try:
        return [frame for frame in packet.decode() if isinstance(frame, av.VideoFrame)]
    except (av.FFmpegError, ValueError):
        return []


def _decode(path: Path, strict: bool) -> _Pass:
    """Decode a file whole and note what is met."""
    found = _Pass(ends_early=ends_early(path))
    with _opened(path, strict) as (container, stream):
        found.fps = _rate(stream)
        if container.duration and TELL_DURATION & set(container.format.name.split(",")):
            found.duration = container.duration / av.time_base
        try:
            for packet in container.demux():
                _note_end(packet, found)
                if packet.stream.index == stream.index:  # of the last, empty packet only this is right
                    _note_packet(packet, found)
        except av.FFmpegError:
            found.stopped = True
        times = np.sort(np.array(found.frame_times, np.int64))
        if len(times) > 1 and stream.time_base:
            found.fps = _checked_rate(found, times * float(stream.time_base))
            found.longest_gap = float(np.diff(times).max() * stream.time_base)
            found.shown = float((times[-1] - times[0]) * stream.time_base) + 1 / found.fps
    return found


def _note_end(packet: av.Packet, found: _Pass) -> None:
    if packet.pts is not None and packet.time_base:
        end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
        found.end = max(found.end, end)


def _note_packet(packet: av.Packet, found: _Pass) -> None:
    """Decode a packet of the main stream; the last is empty and asks for the frames that are held back."""
    found.packets += bool(packet.size)
    if packet.size:
        found.stopped = packet.is_corrupt  # of the last packet it tells that the file ends inside it
    try:
        frames = packet.decode()
    except (av.FFmpegError, ValueError):
        found.refused.append((found.packets, packet.pts))
        return
    for frame in frames:
        if isinstance(frame, av.VideoFrame):
            _note_frame(frame, found)


def _note_frame(frame: av.VideoFrame, found: _Pass) -> None:
    found.count += 1
    if frame.is_corrupt:
        found.corrupt.append(found.count)
    if frame.pts is not None:
        found.frame_times.append(frame.pts)
    size = _size(frame)
    if not found.sizes or found.sizes[-1][1] != size:
        found.sizes.append((found.count, size))


def _size(frame: av.VideoFrame) -> Size:
    return upright_size((frame.width, frame.height), matrix_orientation(frame))


def _rate(stream: VideoStream) -> float:
    """Frames a second: on average, else as the header has it."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate:
            return float(rate)
    return DEFAULT_FPS


def _checked_rate(found: _Pass, times: np.ndarray) -> float:
    """Frames a second; the mean over the frames' times (seconds, sorted) where the header is far from it.

    Of a variable frame rate a header may tell the shortest interval, or a mean of wrong durations. Small
    differences come from times that are rounded to the container's unit; the header's rate is then exact.
    """
    span = float(times[-1] - times[0])
    if not found.faultless or len(times) != found.count or span <= 0:
        return found.fps
    measured = (len(times) - 1) / span
    return measured if abs(measured - found.fps) > WRONG_RATE * measured else found.fps


def _damage(strict: _Pass, found: _Pass) -> Iterator[str]:
    """What is left out, what is damaged and what is missing at the end, a line each."""
    times = sorted(found.frame_times)
    lost = _inside(found, [found.frame_of(*packet, times) for packet in found.refused])
    damaged = _inside(found, [found.frame_of(*packet, times) for packet in strict.refused])
    damaged = sorted({*damaged, *found.corrupt} - {*lost})
    if lost:
        yield f"{_number(lost)} left out since decoding fails, the first before frame {lost[0]}; {WHOLE}"
    if damaged:
        yield f"{_number(damaged)} damaged, the first is frame {damaged[0]}; {WHOLE}"
    if strict.cut_short or found.cut_short:
        told = f"{found.shown:.2f} of {found.duration:.2f} s; " if found.shown and found.duration else ""
        yield f"cut short: nothing can be read after frame {found.count}; {told}{WHOLE}"


def _inside(found: _Pass, numbers: list[int]) -> list[int]:
    """Those that are not behind the last frame: what is missing there is told as the file's end."""
    return [number for number in numbers if number <= found.count]


def _number(frames: list[int]) -> str:
    return "1 frame is" if len(frames) == 1 else f"{len(frames)} frames are"


def _size_changes(found: _Pass) -> Iterator[str]:
    first = found.sizes[0][1]
    for number, size in found.sizes[1:2]:
        told = f"{size[0]}x{size[1]} instead of {first[0]}x{first[1]}"
        yield f"from frame {number} on it is {told}; these frames are scaled to the size of the first"
