"""TNLLT: long videos with expressions (ReasoningTrack, https://github.com/Event-AHU/Open_VLTrack).

Layout: `<root>/<name>/imgs/*.png`, `groundtruth.txt` (x,y,w,h), `language.txt` and `absent_label.txt`, in
which 0 means absent: the opposite of TNL2K. The official lists of 150 and 50 names are expected in the root,
under any of the names that the repositories of the data set and of trackers use.
"""

from pathlib import Path

from data_prep.files import inside
from data_prep.readers.annotations import flags_of, read_boxes, read_expressions, truth_of
from data_prep.readers.folders import first_there, fitted, folders_of, frames_of, image_names, read_names
from data_prep.readers.reader import Entry, Reader, register_reader
from data_prep.sequence import Sequence

LISTS = ("{}_split.txt", "tnllt_{}_split.txt", "tnl_lt_{}_split.txt")


def find(root: Path, split: str) -> list[Entry]:
    """The sequences of a list, or every folder for `all`."""
    if split == "all":
        return [Entry(folder.name, folder) for folder in folders_of(root)]
    path = first_there(root, *(pattern.format(split) for pattern in LISTS))
    return [Entry(name, inside(root, name)) for name in read_names(path)]


def read(entry: Entry) -> Sequence:
    """Read one sequence. Without `absent_label.txt` an empty box means absent."""
    boxes = read_boxes(entry.folder / "groundtruth.txt")
    folder = entry.folder / "imgs"
    # More images than boxes give a note, fewer an error.
    names, notes = fitted(folder, image_names(folder), boxes)
    path = entry.folder / "absent_label.txt"
    # The flags say 1 where the target is visible, so they can be used as they are.
    visible = flags_of(path, boxes) if path.exists() else None
    expressions, spans = read_expressions(entry.folder / "language.txt", len(boxes))
    truth = truth_of(boxes, visible)
    return Sequence(
        entry.name, frames_of(folder, names), expressions, 25.0, entry.folder, {}, spans, truth, notes
    )


TNLLT = register_reader(Reader("tnllt", ("train", "test", "all"), find, read))
