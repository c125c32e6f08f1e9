"""What a check can find: a short, fixed vocabulary, each word with how bad it is."""

from dataclasses import dataclass

from data_prep.frames import Frames, ImageFrames, VideoFrames

BROKEN, DOUBTFUL = "broken", "doubtful"


@dataclass(frozen=True)
class Kind:
    """`severity`: `BROKEN`, the sequence cannot be used, or `DOUBTFUL`, told and not fatal. And in words."""

    severity: str
    meaning: str


KINDS: dict[str, Kind] = {
    "refused": Kind(BROKEN, "its annotations or counts cannot be read"),
    "no_data": Kind(BROKEN, "the split names it, but it is not there"),
    "frame_missing": Kind(BROKEN, "a frame is not there"),
    "frame_unreadable": Kind(BROKEN, "a frame is no picture, or a damaged one"),
    "frame_size": Kind(BROKEN, "a frame is of another size than the first"),
    "frame_turned": Kind(DOUBTFUL, "a frame is stored turned otherwise than the first"),
    "boxes_away": Kind(BROKEN, "most boxes lie outside the image: of another video or size?"),
    "box_away": Kind(DOUBTFUL, "a target that is shown lies outside the image; never drawn"),
    "boxes_form": Kind(BROKEN, "boxes seem to be corners, or shares of the image's sides, not x,y,w,h"),
    "box_over": Kind(DOUBTFUL, "a box reaches beyond the image by more than the margin"),
    "box_nan": Kind(DOUBTFUL, "a target that is shown has a box that is no number; never drawn"),
    "box_empty": Kind(DOUBTFUL, "a box has no area; never drawn"),
    "never_shown": Kind(DOUBTFUL, "its target is absent in every annotated frame; never drawn"),
    "text_none": Kind(DOUBTFUL, "no words refer to its target"),
    "text_empty": Kind(DOUBTFUL, "an expression is empty"),
    "text_never": Kind(DOUBTFUL, "an expression is true of no frame"),
    "frame_gap": Kind(DOUBTFUL, "the numbers of its frames jump"),
    "video_file": Kind(DOUBTFUL, "its frames lie in a video file, which no index takes"),
    "mended": Kind(DOUBTFUL, "something was mended in reading"),
    "listed_twice": Kind(DOUBTFUL, "a list names it more than once"),
    "same_name": Kind(DOUBTFUL, "two sequences of the split have one name"),
    "same_annotations": Kind(DOUBTFUL, "another sequence has the same boxes and words"),
    "two_splits": Kind(DOUBTFUL, "it is in the training split and in one to evaluate on"),
    "unlisted": Kind(DOUBTFUL, "it lies beside the others, but no list names it"),
}
"""In the order in which they are told."""


@dataclass(frozen=True)
class Finding:
    """One fault of a sequence (its name is empty where the whole split has it): a word of `KINDS` and a line.

    The line names a file and the mend. `count` is how many frames, boxes or expressions have the fault: the
    line tells of the first.
    """

    sequence: str
    kind: str
    line: str
    count: int = 1

    @property
    def severity(self) -> str:
        """`BROKEN` or `DOUBTFUL`."""
        return KINDS[self.kind].severity


def place(frames: Frames, number: int) -> str:
    """Where a frame, counted from 0, lies: its file, or its number in a video file."""
    if isinstance(frames, ImageFrames):
        return str(frames.paths[number])
    if isinstance(frames, VideoFrames):
        return f"{frames.path}: frame {number}, counted from 0"
    raise TypeError(type(frames))
