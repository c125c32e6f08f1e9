"""The frames of a sequence: the files that match the pattern of its channel, as the toolkit finds them.

The toolkit counts from 1 and stops at the first number without a file. So a missing frame shortens a sequence
without a message; here it is an error.
"""

import itertools
import os
import re
from pathlib import Path, PurePosixPath

from configs.errors import UserError
from configs.terminal import counted
from data_prep.files import inside, is_file
from data_prep.video.frames import ImageFrames
from data_prep.video.images import image_size

CHANNELS = ("color", "depth", "ir")  # those of the toolkit, in its order; the first one that exists is used
EXTENSIONS = (".jpg", ".png")
PLAIN_PATTERN = "%08d.jpg"

Found = tuple[tuple[Path, ...], list[str]]  # the frames in order, and warnings


def find_frames(folder: Path, properties: dict[str, str]) -> Found:
    """The frames of the first channel of a sequence, in order, and warnings.

    Raises UserError where there are none, one is missing, or the channels differ in length.
    """
    # A `sequence` file without channels means JPEG files in `color/`.
    given = {name: properties[f"channels.{name}"] for name in CHANNELS if f"channels.{name}" in properties}
    channels = given or {"color": f"color/{PLAIN_PATTERN}"}
    length = _whole_number(properties.get("length"))
    found = {name: _channel_frames(folder, name, source, length) for name, source in channels.items()}
    counts = {name: len(frames) for name, (frames, _) in found.items()}
    # The toolkit would fail at the first frame that one channel lacks.
    if len(set(counts.values())) > 1:
        message = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(f"{folder / 'sequence'}: channels differ in frames ({message}); make them one length")
    frames, warnings = next(iter(found.values()))
    return frames, warnings


def same_size(frames: tuple[Path, ...], check_all: bool) -> ImageFrames:
    """Frames with the size of the first; with `check_all` the headers of the others must agree.

    Raises UserError naming the first file that is not an image or has another size.
    """
    # Headers only: decoding every frame would take minutes.
    size = image_size(frames[0])
    for path in frames[1:] if check_all else ():
        other = image_size(path)
        if other != size:
            message = f"frame is {other[0]}x{other[1]} but the sequence is {size[0]}x{size[1]}"
            raise UserError(f"{path}: {message}; make all frames one size")
    return ImageFrames(frames, size)


def _whole_number(text: str | None) -> int | None:
    """A number as the toolkit reads it: None where it is missing or not a whole number."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _channel_frames(folder: Path, name: str, source: str, length: int | None) -> Found:
    """The frames of one channel, and warnings. With `length` there must be at least that many frames."""
    # 1. Count up from 1 until a number has no file, as the toolkit does.
    base, pattern = _split_source(folder, name, source)
    present = _file_names(base)
    wanted = itertools.count(1) if length is None else range(1, max(length, 1) + 1)
    frames = tuple(itertools.takewhile(present.__contains__, (pattern % number for number in wanted)))
    # 2. Files with other numbers: later ones show that a frame is missing.
    others = _other_numbers(pattern, present.difference(frames))
    later = [number for number in others if number > len(frames)]
    if not frames and not later:
        raise UserError(f"{base / pattern}: no frames; unpack them there, numbered from {pattern % 1}")
    if len(frames) < length if length is not None else later:
        missing = base / (pattern % (len(frames) + 1))
        why = f"{counted(len(later), 'later one')} would be lost" if later else f"length={length} asks for it"
        raise UserError(f"{missing}: frame is missing and {why}; restore it")
    paths = tuple(base / frame for frame in frames)
    return paths, _left_out(base, pattern, others, len(frames))


def _split_source(folder: Path, name: str, source: str) -> tuple[Path, str]:
    """The folder and the file name pattern of a channel, from the line `channels.<name>=<source>`.

    As for the toolkit, a folder alone means %08d.jpg in it. Raises UserError for a pattern that the toolkit
    would not accept, or that leads out of the folder of the sequence.
    """
    message = f"{folder / 'sequence'}: channels.{name}={source}"
    # Workspaces that were made on Windows have backslashes.
    path = PurePosixPath(source.replace("\\", "/"))
    if path.suffix == "" or source.endswith(("/", "\\")):
        path /= PLAIN_PATTERN
    base, pattern = path.parent, path.name
    try:
        # The pattern must contain exactly one place for the number, and the folder none.
        numbered = pattern % 1 != pattern % 2 and "%" not in str(base)
    except (TypeError, ValueError):
        numbered = False
    if not numbered or path.suffix not in EXTENSIONS:
        raise UserError(f"{message} is no pattern of frames; write it like color/%08d.jpg (or .png)")
    try:
        return (inside(folder, str(base)) if base.parts else folder), pattern
    except UserError:
        raise UserError(f"{message} leaves the sequence's folder; write it like color/%08d.jpg") from None


def _file_names(base: Path) -> set[str]:
    try:
        with os.scandir(base) as entries:
            return {entry.name for entry in entries if is_file(entry)}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _other_numbers(pattern: str, names: set[str]) -> list[int]:
    """The sorted numbers from which the pattern makes these names; other names are ignored."""
    digits = ((name, int(number)) for name in names for number in re.findall(r"\d+", name))
    # Other digits of a name, and another padding, make another name, and so do not count.
    return sorted({number for name, number in digits if pattern % number == name})


def _left_out(base: Path, pattern: str, numbers: list[int], count: int) -> list[str]:
    """A warning where files match the pattern but are not frames for the toolkit."""
    if not numbers:
        return []
    names = ", ".join(pattern % number for number in numbers[:3]) + (", ..." if len(numbers) > 3 else "")
    return [f"{base}: {names} left out, as the toolkit does: frames are 1 to {count}"]
