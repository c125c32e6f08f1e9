"""OTB99-Lang: the videos of OTB100 with expressions (https://github.com/QUVA-Lab/lang-tracker).

Layout: `<root>/OTB_videos/<name>/img/*`, `groundtruth_rect.txt` and, for each target, its expression in
`OTB_query_train/<name>.txt` or `OTB_query_test/<name>.txt`: the query folders are the splits, 51 and 48.
Boxes are separated by commas, tabs or blanks, even within a file. There are no flags.
"""

import re
from pathlib import Path

from configs.errors import UserError
from configs.terminal import counted
from data_prep.readers.annotations import read_boxes, read_expressions, truth_of
from data_prep.readers.folders import fitted, frames_of, image_names
from data_prep.readers.reader import Entry, Reader, register_reader
from data_prep.sequence import Sequence

NUMBERED = re.compile(r"(.+)[-_]([12])")
SECOND_ALONE = "Human4"  # its first file of boxes is empty; its only target has the second
LATE = {"David": 299}  # frames before the first box: its boxes begin at frame 300


def find(root: Path, split: str) -> list[Entry]:
    """The targets of a query folder by name; for `all` those of both."""
    queries: dict[str, Path] = {}
    for part in ("train", "test") if split == "all" else (split,):
        for query in _queries(root / f"OTB_query_{part}"):
            # In `all`, a target must not be in both splits.
            other = queries.setdefault(query.stem, query)
            if other != query:
                raise UserError(f"{query}: the same target as {other}; remove one of them")
    videos = root / "OTB_videos"
    return [Entry(name, _video(videos, name), {}, (query,)) for name, query in queries.items()]


def _queries(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*.txt") if path.name[0] != ".")
    if not found:
        raise UserError(f"{folder}: holds no queries; unpack OTB_sentences.zip, and check root=")
    return found


def _video(videos: Path, name: str) -> Path:
    """The folder of a target's video: its own (`Skating2-1`), or one shared by two targets (`Skating2`)."""
    own = videos / name
    return own if own.is_dir() else videos / _target(name)[0]


def _target(name: str) -> tuple[str, str]:
    """The video of a target, and the target's number in it; empty where it is the only one."""
    match = NUMBERED.fullmatch(name)
    video, number = (match[1], match[2]) if match else (name, "")
    return video, "2" if video == SECOND_ALONE else number


def read(entry: Entry) -> Sequence:
    """Read one target. An empty box means absent."""
    folder = entry.folder / "img"
    boxes, images = read_boxes(_boxes_path(entry)), image_names(folder)
    # Only where the frames before the first box exist.
    late = LATE.get(entry.name, 0) if len(images) > len(boxes) else 0
    names, notes = fitted(folder, images[late:], boxes)
    if late:
        notes = (f"{folder}: its boxes begin after {counted(late, 'frame')}, which are left", *notes)
    expressions, spans = read_expressions(entry.files[0], len(boxes))
    frames, truth = frames_of(folder, names), truth_of(boxes, None)
    return Sequence(entry.name, frames, expressions, 25.0, entry.folder, {}, spans, truth, notes)


def _boxes_path(entry: Entry) -> Path:
    """The file of a target's boxes. Raises UserError where no file certainly belongs to it."""
    video, number = _target(entry.name)
    # The numbered file has priority, since it certainly belongs to this target.
    names = [f"groundtruth_rect.{number}.txt"] if number else []
    shared = entry.folder.name != entry.name and video != SECOND_ALONE
    if not (shared and number == "2"):  # in a shared folder the file without a number is that of target 1
        names.append("groundtruth_rect.txt")
    path = next((path for name in names if (path := entry.folder / name).exists()), None)
    if path is None:
        raise UserError(f"{entry.folder}: no {' or '.join(names)}; restore it from the data set")
    return path


OTB99 = register_reader(Reader("otb99", ("train", "test", "all"), find, read))
