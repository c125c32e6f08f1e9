"""Whether a file is as long as its container says; FFmpeg ends without a word where a file ends."""

from pathlib import Path

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # the two elements that a Matroska file is made of
GIF_TRAILER = b";"
SYNC = 0x47  # the first byte of a transport stream's packet
TS_PACKETS = (188, 192, 204)  # bytes of one: plain, with times, with check sums
HEAD = 1 << 12


def ends_early(path: Path) -> bool:
    """Whether bytes are missing at the end: of Matroska (WebM), transport streams and GIF; else False."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
        file.seek(max(0, size - HEAD))
        tail = file.read()
    if head.startswith(EBML):
        return size < _matroska_size(head)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return not tail.rstrip(b"\0").endswith(GIF_TRAILER)
    packet = next((length for length in TS_PACKETS if _repeats(head, length)), None)
    return packet is not None and size % packet != 0


def _matroska_size(head: bytes) -> int:
    """How long a Matroska file is by its header; 0 where it does not tell, as one that was streamed."""
    length, start = _number(head, len(EBML))
    segment = start + max(length, 0)
    if not head.startswith(SEGMENT, segment):
        return 0
    length, start = _number(head, segment + len(SEGMENT))
    return start + length if length >= 0 else 0


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of EBML (-1: unknown) and where it ends: its first byte's leading zeros tell its length."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()
    if length > 8 or at + length > len(data):
        return -1, at
    value = int.from_bytes(data[at : at + length]) - (1 << 7 * length)
    return (-1 if value == (1 << 7 * length) - 1 else value), at + length


def _repeats(head: bytes, step: int) -> bool:
    """Whether packets of a transport stream follow one another by `step` bytes."""
    start = 4 if step == 192 else 0
    marks = head[start::step]
    return len(marks) > 3 and set(marks) == {SYNC}
