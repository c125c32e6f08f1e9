"""What the key `video=` can name: a video file, an animated image, or a folder of frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.files import real_path
from data_prep.geometry import Size
from data_prep.readers.folders import image_names
from data_prep.video.decoding import DEFAULT_FPS, check_video
from data_prep.video.frames import AnimationFrames, Frames, ImageFrames, VideoFrames, is_image
from data_prep.votsr.channels import same_size


@dataclass(frozen=True)
class VideoInput:
    """An opened video: its name, frames and frame rate, and warnings, one line each.

    `about` describes a folder: the number of its frames, and the files that are not frames.
    """

    name: str
    frames: Frames
    fps: float
    warnings: tuple[str, ...] = ()
    about: str = ""


@dataclass(frozen=True)
class FrameRange:
    """The frames from `start` up to, but not including, `stop` of other frames, counted from 0."""

    frames: Frames
    start: int
    stop: int

    @property
    def size(self) -> Size:
        """Width and height of every frame, in pixels."""
        return self.frames.size

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[np.ndarray]:
        return islice(iter(self.frames), self.start, self.stop)


def open_video(path: Path, first: int | None = None, last: int | None = None) -> VideoInput:
    """Open what `video=` names; `first` and `last` (from 1, both included) choose a part of its frames.

    Raises UserError where it does not exist, is no video, holds no frame, or has no such part.
    """
    video = _open_folder(path) if path.is_dir() else _open_file(path)
    count = len(video.frames)
    # Users count frames from 1 and include the last one; the code counts from 0 and excludes it.
    start, stop = (first or 1) - 1, last or count
    if stop > count or start >= stop:
        message = f"first={start + 1} last={stop}"
        raise UserError(
            f"{path}: has frames 1 to {count}, so {message} is no part of it; correct first= and last="
        )
    if (start, stop) == (0, count):
        return video
    return VideoInput(video.name, _part(video.frames, start, stop), video.fps, video.warnings, video.about)


def check_video_path(path: Path) -> None:
    """Raise UserError where there is neither such a file nor such a folder."""
    if not path.is_dir():
        check_video(path)


def _part(frames: Frames, start: int, stop: int) -> Frames:
    """A part of frames. Of image files the earlier ones need not be decoded, so they are left out."""
    # Image files can be opened directly; a video must be decoded from its beginning.
    if isinstance(frames, ImageFrames):
        return ImageFrames(frames.paths[start:stop], frames.size)
    return FrameRange(frames, start, stop)


def _open_file(path: Path) -> VideoInput:
    check_video(path)
    frames = AnimationFrames.open(path) if is_image(path) else VideoFrames.open(path)
    return VideoInput(path.stem, frames, frames.fps, frames.warnings)


def _open_folder(folder: Path) -> VideoInput:
    """The images in a folder, in the order of their numbers."""
    names = image_names(folder)
    # Files that are not used are named, since a frame with an unexpected ending would be missed silently.
    others = sorted(path.name for path in folder.iterdir() if path.name not in set(names))
    frames = same_size(tuple(folder / name for name in names), check_all=True)
    message = f"{len(names)} in the folder, {names[0]} to {names[-1]}"
    if others:
        message += f"; ignored: {', '.join(others[:3])}{', ...' if len(others) > 3 else ''}"
    return VideoInput(real_path(folder).name, frames, DEFAULT_FPS, (), message)
