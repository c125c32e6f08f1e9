"""Frames of one video: a list of image files, or a video file. Decoded one at a time, in order."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from configs.errors import UserError
from data_prep.geometry import Size


class Frames(Protocol):
    """What a sequence's pictures offer: a count, one size, and reading in order."""

    @property
    def size(self) -> Size:
        """Width and height of every frame, in pixels."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield RGB frames, uint8, (height, width, 3). Raises UserError naming a file that fails."""
        ...


@dataclass(frozen=True)
class ImageFrames:
    """Frames that lie as image files, all of one size (width, height)."""

    paths: tuple[Path, ...]
    size: Size

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[np.ndarray]:
        for path in self.paths:
            yield self.read(path)

    def read(self, path: Path) -> np.ndarray:
        """Decode one frame; raises UserError where it is unreadable or of another size."""
        frame = read_image(path)
        if (frame.shape[1], frame.shape[0]) != self.size:
            found, wanted = f"{frame.shape[1]}x{frame.shape[0]}", f"{self.size[0]}x{self.size[1]}"
            raise UserError(
                f"{path}: frame is {found} but the sequence is {wanted}; make all frames one size"
            )
        return frame


def read_image(path: Path) -> np.ndarray:
    """Decode one image file to RGB, uint8, (height, width, 3); raises UserError where it cannot be read.

    Of 16 bits the high eight are taken, as by OpenCV; Pillow alone would make all but the darkest white.
    """
    with _opened(path) as image:
        if image.mode.startswith("I;16"):
            return np.repeat((np.array(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        return np.array(image.convert("RGB"))  # a copy: torch wants to own its arrays


def image_size(path: Path) -> Size:
    """Width and height of an image file, from its header alone (about 40 microseconds, nothing is decoded).

    Raises UserError where the file is missing or is no image.
    """
    with _opened(path) as image:
        return image.size


def decoded_size(path: Path) -> Size:
    """Width and height of an image file that is decoded whole: what is cut off is found only so.

    A quarter of the cost of `read_image`, since nothing is copied. Raises UserError as that does.
    """
    with _opened(path) as image:
        image.load()
        return image.size


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file; what fails while it is open becomes a UserError that names the file."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise UserError(f"{path}: frame is missing; restore it or correct the sequence") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as fault:
        raise UserError(f"{path}: frame cannot be read ({_reason(fault)}); replace the file") from None


def _reason(fault: Exception) -> str:
    """What an exception says, without the path that it repeats."""
    if isinstance(fault, UnidentifiedImageError):
        return "no image of a known form"
    return (fault.strerror if isinstance(fault, OSError) else None) or str(fault)


def check_video(path: Path) -> None:
    """Raise UserError where there is no such video file; that it is one takes decoding it."""
    if not path.is_file():
        raise UserError(f"{path}: no such video; check video=")


@dataclass(frozen=True)
class VideoFrames:
    """Frames of a video file, decoded by PyAV."""

    path: Path
    size: Size
    count: int
    fps: float

    @classmethod
    def open(cls, path: Path) -> "VideoFrames":
        """Count the frames of a video file. Raises UserError where it is missing or is no video."""
        check_video(path)
        try:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                count = sum(1 for _ in container.decode(stream))
                fps = float(stream.average_rate or 25)
                size = (stream.codec_context.width, stream.codec_context.height)
        except (av.FFmpegError, IndexError) as fault:
            raise UserError(f"{path}: not a video that can be decoded ({fault})") from None
        return cls(path, size, count, fps)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[np.ndarray]:
        with av.open(str(self.path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
