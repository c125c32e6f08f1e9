"""Frames of one video: image files, a video file or an animated image. They are decoded one at a time, in
order.

Frames are upright (`data_prep.video.images`) and all of one size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from configs.errors import UserError
from data_prep.contract.images import resize
from data_prep.geometry import Size
from data_prep.video.decoding import DEFAULT_FPS, WHOLE, frames_in
from data_prep.video.images import (
    UNREADABLE,
    exif_orientation,
    image_size,
    opened_image,
    read_image,
    rgb_of,
    upright,
)
from data_prep.video.scan import ends_early, scan_video

__all__ = ["AnimationFrames", "Frames", "ImageFrames", "VideoFrames", "image_size", "is_image", "read_image"]


class Frames(Protocol):
    """The frames of a sequence: their number, their size, and reading them in order."""

    @property
    def size(self) -> Size:
        """Width and height of every frame, in pixels."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield RGB frames, uint8 (height, width, 3). Raises UserError that names a file which
        cannot be read.
        """
        ...


@dataclass(frozen=True)
class ImageFrames:
    """Frames in image files, all of one size (width, height)."""

    paths: tuple[Path, ...]
    size: Size

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[np.ndarray]:
        for path in self.paths:
            yield self.read(path)

    def read(self, path: Path) -> np.ndarray:
        """Decode one frame, RGB uint8 (height, width, 3). Raises UserError where it cannot be read
        or has another size.
        """
        frame = read_image(path)
        # A frame of another size would shift every box and mask, so it is refused instead of scaled.
        if (frame.shape[1], frame.shape[0]) != self.size:
            found, wanted = f"{frame.shape[1]}x{frame.shape[0]}", f"{self.size[0]}x{self.size[1]}"
            raise UserError(
                f"{path}: frame is {found} but the sequence is {wanted}; make all frames one size"
            )
        return frame


@dataclass(frozen=True)
class VideoFrames:
    """Frames of a video file, decoded by FFmpeg.

    `size` is that of the first frame, upright. Frames of another size are scaled to it, as OpenCV does.
    `warnings` describe damaged and missing parts of the file, one line each.
    """

    path: Path
    size: Size
    count: int
    fps: float
    warnings: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path) -> "VideoFrames":
        """Decode a video file once to count its frames. Raises UserError as `scan_video` does."""
        found = scan_video(path)
        return cls(path, found.size, found.count, found.fps, found.warnings)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[np.ndarray]:
        # Some files change their size in the middle; their frames are scaled to the first one.
        for frame in frames_in(self.path):
            yield resize(frame, self.size)


ANIMATIONS = ("GIF", "PNG", "WEBP")  # formats of Pillow that may hold several frames
STILLS = ("JPEG",)


@dataclass(frozen=True)
class AnimationFrames:
    """Frames of an animated GIF, PNG or WebP, decoded by Pillow; a still image is one frame.

    FFmpeg reads GIF and PNG too, with the same pixels. But it reads neither WebP nor the orientation of
    images.
    """

    path: Path
    size: Size
    count: int
    fps: float
    warnings: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path) -> "AnimationFrames":
        """Decode an animated image once to count its frames.

        A truncated file is described in `warnings`. Raises UserError where no frame can be read.
        """
        total, size, shown = 0, (0, 0), 0.0
        warnings: tuple[str, ...] = ()
        try:
            # Every frame is decoded once, to count them and to find where a truncated file ends.
            for frame, milliseconds in _animation(path):
                total, size, shown = total + 1, (frame.shape[1], frame.shape[0]), shown + milliseconds
        except UserError:
            if not total:
                raise
            warnings = (f"{path}: cut short: nothing can be read after frame {total}; {WHOLE}",)
        # The mean rate: frames of an animation may be shown for different times.
        fps = 1000 * total / shown if shown > 0 else DEFAULT_FPS
        return cls(path, size, total, fps, warnings)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame, _ in islice(_animation(self.path), self.count):
            yield frame


def is_image(path: Path) -> bool:
    """Whether a file is an image that `AnimationFrames` reads; its content decides, not its name."""
    try:
        with Image.open(path, formats=ANIMATIONS + STILLS):
            return True
    except UNREADABLE:
        return False


def _animation(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of an image file, each with the milliseconds that it is shown.

    Raises UserError where the file is damaged.
    """
    with opened_image(path, ANIMATIONS + STILLS) as image:
        orientation = exif_orientation(image)
        # The header of a GIF does not say how many frames follow.
        total = None if image.format == "GIF" else _n_frames(image)
        for number in count() if total is None else range(total):
            try:
                # Pillow composes partial frames with the earlier ones, so frames must be read in order.
                image.seek(number)
            except EOFError:
                break
            except IndexError:  # raised by Pillow for a GIF that ends inside a block
                raise OSError("the file is cut short") from None
            yield upright(rgb_of(image), orientation), image.info.get("duration", 0)
        else:
            return
        # Fewer frames than the header says, or a GIF without its end mark.
        if total is not None or ends_early(path):
            raise OSError("the file is cut short")


def _n_frames(image: Image.Image) -> int:
    """The number of frames by the header of an image; 1 for a JPEG of several images (MPO), which
    is no video.
    """
    return getattr(image, "n_frames", 1) if image.format in ANIMATIONS else 1
