"""Two small videos that tests write in the layouts of data sets, and what every reader must find in them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.sequence import ABSENT, PRESENT, Sequence
from data_prep.video.images import read_image

SIZE = (32, 24)


@dataclass(frozen=True)
class Video:
    """A video of some frames: a box for each, None where the target is absent, and one prompt."""

    name: str
    boxes_xywh: tuple[tuple[float, float, float, float] | None, ...]
    prompt: str

    def picture(self, frame: int) -> np.ndarray:
        """Frame `frame`, of one grey that tells which it is: 10 for the first, 20 for the second, …"""
        return np.full((SIZE[1], SIZE[0], 3), 10 * (frame + 1), np.uint8)

    def mask(self, frame: int) -> np.ndarray:
        """The target's pixels, bool (height, width): its box, filled."""
        mask, box = np.zeros((SIZE[1], SIZE[0]), bool), self.boxes_xywh[frame]
        if box is not None:
            x, y, width, height = (int(value) for value in box)
            mask[y : y + height, x : x + width] = True
        return mask

    def lines(self, separator: str = ",", absent: str = "0,0,0,0") -> str:
        """The boxes as lines of a file."""
        rows = [absent if box is None else ",".join(f"{side:g}" for side in box) for box in self.boxes_xywh]
        return "".join(f"{row.replace(',', separator)}\n" for row in rows)


CAR = Video(
    "car-1", ((2, 3, 8, 6), (3, 3, 8, 6), None, (5, 4, 8, 6), (6, 4, 9, 7)), "the red car on the left"
)
DOG = Video("dog-12", (None, (20, 10, 6, 8), (19, 10, 6, 8), (18, 11, 6, 9)), "a dog, running")
VIDEOS = (CAR, DOG)


def write_frames(folder: Path, video: Video, pattern: str = "{:08d}.jpg", first: int = 1) -> None:
    """Write the frames of a video, numbered from `first`."""
    folder.mkdir(parents=True)
    for frame in range(len(video.boxes_xywh)):
        path = folder / pattern.format(first + frame)
        Image.fromarray(video.picture(frame)).save(path)


def assert_same(sequence: Sequence, video: Video, name: str | None = None) -> None:
    """A reader's sequence is the video: frames in order, size, prompt, presence, boxes where present."""
    assert sequence.name == (name or video.name)
    assert sequence.frames.size == SIZE
    greys = [int(np.median(frame)) for frame in sequence.frames]
    assert greys == [10 * (frame + 1) for frame in range(len(video.boxes_xywh))]
    assert sequence.expressions == (video.prompt,)
    assert sequence.truth is not None
    present = np.array([ABSENT if box is None else PRESENT for box in video.boxes_xywh])
    assert np.array_equal(sequence.truth.present, present)
    boxes = np.array([box for box in video.boxes_xywh if box is not None], np.float32)
    assert np.array_equal(sequence.truth.boxes_xywh[present == PRESENT], boxes)


def grey_of(path: Path) -> int:
    """The grey of a written frame."""
    return int(np.median(read_image(path)))
