"""Decoding a video file with FFmpeg, and what is wrong with one that is damaged or cut short.

FFmpeg hides damage: it conceals what it cannot decode, and stops without an error where a file ends early.
So a file is scanned once before it is used. The scan decodes it strictly. If that meets a fault, a second
pass decodes as much as possible, as readers do. The scan reports what is lost as warnings.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.logging
import numpy as np

from configs.errors import UserError
from data_prep.geometry import Size
from data_prep.video.decoding import DEFAULT_FPS, WHOLE, check_video, frame_rate, frame_size, opened_video

WRONG_RATE = 0.1  # a header's frame rate further than this share from the frames' times is not used
TELL_DURATION = {"mov", "matroska", "flv", "asf"}  # have it in their headers; for others it is an estimate
TELL_COUNT = {"avi"}  # have the number of frames in their headers
SLACK = 1.5  # frame intervals by which a file may end before the time in its header


@dataclass(frozen=True)
class Scan:
    """The content of a video file: `count` frames of `size` (width, height), upright, and warnings,
    one line each.
    """

    size: Size
    count: int
    fps: float
    warnings: tuple[str, ...] = ()


@dataclass
class _Pass:
    """What one pass over a file found. Times are in units of the stream; frames are numbered from 1."""

    frame_times: list[int] = field(default_factory=list)
    count: int = 0
    sizes: list[tuple[int, Size]] = field(default_factory=list)  # the frame from which each size holds
    corrupt: list[int] = field(default_factory=list)  # frames that FFmpeg marks as damaged
    refused: list[tuple[int, int | None]] = field(
        default_factory=list
    )  # packets that cannot be decoded: number and time
    packets: int = 0  # those with data; an AVI repeats a frame by an empty one
    empty_packets: int = 0
    declared: int = 0  # frames, by the header; 0: it does not tell
    ends_early: bool = False  # the container says that the file is longer
    stopped: bool = False  # reading ended with an error or inside a packet
    end: float = 0.0  # seconds: the end of the last packet of any stream
    duration: float | None = None  # seconds, by the header
    fps: float = DEFAULT_FPS
    longest_gap: float = 0.0  # seconds between two frames
    shown: float = 0.0  # seconds from the first frame's start to the last one's end

    @property
    def faultless(self) -> bool:
        return not (self.corrupt or self.refused or self.stopped)

    @property
    def cut_short(self) -> bool:
        """Whether something is missing at the end."""
        # A file that ends inside a packet, is shorter than its container says, or whose last packet cannot be
        # decoded.
        if self.stopped or self.ends_early or (self.refused and self.refused[-1][0] == self.packets):
            return True
        # Headers are rounded, and the last frame of a video with a variable rate may be shown for longer.
        slack = SLACK * max(1 / self.fps, self.longest_gap)
        return self.duration is not None and self.end < self.duration - slack

    def frame_of(self, packet: int, time: int | None, frame_times: list[int]) -> int:
        """The frame that a packet belongs to: by its time, or by its place where it has none."""
        # Frames are numbered by their times. Without times the number of the packet is the best guess.
        return packet if time is None or not frame_times else bisect_left(frame_times, time) + 1


def scan_video(path: Path) -> Scan:
    """Decode a video file once to count its frames and to find what is damaged.

    Damage is described in `warnings`, as long as some frames can be read. Raises UserError where the file is
    missing, is no video, or holds no frame that can be decoded.
    """
    check_video(path)
    # Most files are intact, so one strict pass is usually enough. The second pass is what readers will see.
    strict = _decode(path, strict=True)
    found = strict if strict.faultless else _decode(path, strict=False)
    # Nothing could be decoded, so there is no video to work with.
    if found.count == 0:
        raise UserError(f"{path}: holds no frame that can be decoded; it is damaged or empty")
    message = [*_damage(strict, found), *_size_changes(found)]
    return Scan(found.sizes[0][1], found.count, found.fps, tuple(f"{path}: {line}" for line in message))


def _decode(path: Path, strict: bool) -> _Pass:
    """Decode a complete file, and note what is found."""
    found = _Pass(ends_early=ends_early(path))
    with opened_video(path, strict) as (container, stream):
        # 1. What the header says.
        found.fps = frame_rate(stream)
        if container.duration and TELL_DURATION & set(container.format.name.split(",")):
            found.duration = container.duration / av.time_base
        if TELL_COUNT & set(container.format.name.split(",")):
            found.declared = stream.frames
        try:
            # 2. All packets, also those of sound: a video stream may end before the sound,
            #    and the header gives the end of the longest stream.
            for packet in container.demux():
                _note_end(packet, found)
                if (
                    packet.stream.index == stream.index
                ):  # compared by index: the last, empty packet has no other
                    _note_packet(packet, found)
        except av.FFmpegError:
            found.stopped = True
        # 3. The times of the frames. They are sorted, because frames are decoded in another order than they
        #    are shown.
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
    """Decode a packet of the main stream. The last one is empty and returns the frames that are
    still buffered.
    """
    # 1. Count the packet. The empty one at the end is not counted.
    found.packets += bool(packet.size)
    found.empty_packets += not packet.size and packet.pts is not None
    if packet.size:
        found.stopped = packet.is_corrupt  # on the last packet it means that the file ends inside it
    try:
        # 2. Decode it. A packet that fails is noted with its time, by which its frame is found later.
        frames = packet.decode()
    except (av.FFmpegError, ValueError):
        found.refused.append((found.packets, packet.pts))
        return
    for frame in frames:
        if isinstance(frame, av.VideoFrame):
            _note_frame(frame, found)


def _note_frame(frame: av.VideoFrame, found: _Pass) -> None:
    found.count += 1
    # FFmpeg conceals damage in a frame but marks it.
    if frame.is_corrupt:
        found.corrupt.append(found.count)
    if frame.pts is not None:
        found.frame_times.append(frame.pts)
    size = frame_size(frame)
    # Only changes of the size are kept.
    if not found.sizes or found.sizes[-1][1] != size:
        found.sizes.append((found.count, size))


def _checked_rate(found: _Pass, times: np.ndarray) -> float:
    """Frames a second; the mean over the frames' times (seconds, sorted) where the header is far from it.

    Of a variable frame rate a header may tell the shortest interval, or a mean of wrong durations. Small
    differences come from times that are rounded to the container's unit; the header's rate is then exact.
    """
    # The mean is only reliable if every frame has a time and none is missing.
    span = float(times[-1] - times[0])
    if not found.faultless or len(times) != found.count or span <= 0:
        return found.fps
    measured = (len(times) - 1) / span
    return measured if abs(measured - found.fps) > WRONG_RATE * measured else found.fps


def _damage(strict: _Pass, found: _Pass) -> Iterator[str]:
    """One line each for frames that are left out, frames that are damaged, and a missing end."""
    times = sorted(found.frame_times)
    # What the lenient pass skipped is lost. What only the strict pass refused, or FFmpeg marked, is shown
    # damaged.
    lost = _inside(found, [found.frame_of(*packet, times) for packet in found.refused])
    damaged = _inside(found, [found.frame_of(*packet, times) for packet in strict.refused])
    damaged = sorted({*damaged, *found.corrupt} - {*lost})
    if lost:
        yield f"{_number(lost)} left out, which cannot be decoded, the first before frame {lost[0]}; {WHOLE}"
    if damaged:
        yield f"{_number(damaged)} damaged, the first is frame {damaged[0]}; {WHOLE}"
    if strict.cut_short or found.cut_short:
        message = f"{found.shown:.2f} of {found.duration:.2f} s; " if found.shown and found.duration else ""
        yield f"cut short: nothing can be read after frame {found.count}; {message}{WHOLE}"
    elif found.packets + found.empty_packets < found.declared:
        # A piece is missing, and neither the frames around it nor the end of the file show that.
        yield f"holds {found.packets} of the {found.declared} frames that its header names; {WHOLE}"


def _inside(found: _Pass, numbers: list[int]) -> list[int]:
    """The numbers up to the last frame. Anything after it is reported as a missing end."""
    return [number for number in numbers if number <= found.count]


def _number(frames: list[int]) -> str:
    return "1 frame is" if len(frames) == 1 else f"{len(frames)} frames are"


def _size_changes(found: _Pass) -> Iterator[str]:
    first = found.sizes[0][1]
    # One warning for the first change, however many there are.
    for number, size in found.sizes[1:2]:
        message = f"{size[0]}x{size[1]} instead of {first[0]}x{first[1]}"
        yield f"from frame {number} on it is {message}; these frames are scaled to the size of the first"


EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # the two top-level elements of a Matroska file
GIF_TRAILER = b";"
SYNC = 0x47  # first byte of a packet of an MPEG transport stream
TS_PACKETS = (188, 192, 204)  # bytes of a packet: plain, with a time stamp, with error correction
HEAD = 1 << 12


def ends_early(path: Path) -> bool:
    """Whether bytes are missing at the end, for Matroska (WebM), transport streams and GIF; False
    for other formats.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        # The beginning identifies the format; the end is only needed for GIF.
        head = file.read(HEAD)
        file.seek(max(0, size - HEAD))
        tail = file.read()
    if head.startswith(EBML):
        return size < _matroska_size(head)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return not tail.rstrip(b"\0").endswith(GIF_TRAILER)
    # A transport stream must consist of whole packets.
    packet = next((length for length in TS_PACKETS if _repeats(head, length)), None)
    return packet is not None and size % packet != 0


def _matroska_size(head: bytes) -> int:
    """The length of a Matroska file by its header; 0 where it is not given, as in a file that was
    streamed.
    """
    # Skip the EBML header. The segment, which holds everything else, must follow.
    length, start = _ebml_number(head, len(EBML))
    segment = start + max(length, 0)
    if not head.startswith(SEGMENT, segment):
        return 0
    length, start = _ebml_number(head, segment + len(SEGMENT))
    return start + length if length >= 0 else 0


def _ebml_number(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length number of EBML (-1: unknown) and where it ends.

    The number of leading zero bits of its first byte is the number of bytes that follow.
    """
    # The first byte begins with as many zero bits as bytes follow, then a one: that bit is subtracted below.
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()
    if length > 8 or at + length > len(data):
        return -1, at
    value = int.from_bytes(data[at : at + length]) - (1 << 7 * length)
    # All bits set is the reserved value for an unknown length.
    return (-1 if value == (1 << 7 * length) - 1 else value), at + length


def _repeats(head: bytes, step: int) -> bool:
    """Whether packets of a transport stream begin every `step` bytes."""
    # Packets with a time stamp have four bytes in front of the sync byte.
    start = 4 if step == 192 else 0
    marks = head[start::step]
    return len(marks) > 3 and set(marks) == {SYNC}
