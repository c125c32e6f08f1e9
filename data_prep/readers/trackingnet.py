"""TrackingNet: videos of YouTube in chunks (https://github.com/SilvioGiancola/TrackingNet-devkit).

Layout: `<root>/{TRAIN_0 … TRAIN_11, TEST}/{frames/<name>/<i>.jpg, anno/<name>.txt}`, with frames counted
from 0 without padding; arXiv 1803.10794. The split `train` consists of the chunks that exist, since many
trackers are trained on a few of them. Of test sequences only the first box is public. There are no flags and
no sentences: if PyTracking's `trackingnet_classmap.txt` (lines `name<TAB>class`) is in the root, the class
is the expression.
"""

from collections import Counter
from pathlib import Path

from configs.errors import UserError
from data_prep.files import inside, read_text
from data_prep.readers.annotations import REMEDY, read_boxes, truth_of, truth_of_test
from data_prep.readers.folders import fitted, folders_of, frames_of, image_names
from data_prep.readers.reader import Entry, Reader, register_reader
from data_prep.sequence import Sequence

TEST = "TEST"
TRAIN = tuple(f"TRAIN_{number}" for number in range(12))
CHUNKS = {"train": TRAIN, "test": (TEST,), "all": (*TRAIN, TEST)}
CLASSES = "trackingnet_classmap.txt"
FPS = 30.0  # one box per second was drawn by hand, which is every thirtieth


def find(root: Path, split: str) -> list[Entry]:
    """The sequences of a split's chunks, chunk by chunk, by name."""
    # A training split of some chunks is usual, so missing chunks are not an error.
    there = {folder.name for folder in folders_of(root)}
    chunks = [chunk for chunk in CHUNKS[split] if chunk in there]
    if not chunks:
        raise UserError(
            f"{root}: holds none of {', '.join(CHUNKS[split])}; check root=, or unpack them there"
        )
    classes = _classes(root / CLASSES)
    entries = [
        Entry(name, root / chunk, {"class": classes.get(name, "")}, _files(root / chunk, name))
        for chunk in chunks
        for name in _names(root / chunk)
    ]
    # Results are stored by name, so a name may occur in only one chunk.
    name, count = Counter(entry.name for entry in entries).most_common(1)[0]
    if count > 1:
        raise UserError(f"{root}: {name} lies in {count} chunks; remove the copies")
    return entries


def _names(chunk: Path) -> list[str]:
    """Every name that has boxes or frames. If one of the two is missing, reading the sequence reports it."""
    if not (chunk / "anno").is_dir():
        raise UserError(f"{chunk / 'anno'}: no such folder; unpack the boxes of the chunk there")
    # Archives made on macOS may contain a file `._<name>.txt` beside each file.
    boxes = {path.stem for path in (chunk / "anno").glob("*.txt") if path.name[0] != "."}
    frames = chunk / "frames"
    images = {folder.name for folder in folders_of(frames)} if frames.is_dir() else set()
    if not boxes | images:
        raise UserError(f"{chunk}: holds no sequences; unpack its boxes and frames there")
    return sorted(boxes | images)


def _files(chunk: Path, name: str) -> tuple[Path, Path]:
    """The file of a sequence's boxes, and the folder of its frames."""
    return inside(chunk / "anno", f"{name}.txt"), inside(chunk / "frames", name)


def _classes(path: Path) -> dict[str, str]:
    """The class of each name; empty where the file does not exist."""
    if not path.exists():
        return {}
    classes = {}
    for number, line in enumerate(read_text(path, REMEDY).splitlines(), start=1):
        name, tab, class_name = line.partition("\t")
        if tab:
            classes[name.strip()] = class_name.strip()
        elif line.strip():
            raise UserError(f"{path}: line {number} is not `name<TAB>class` ({line[:40]!r}); {REMEDY}")
    return classes


def read(entry: Entry) -> Sequence:
    """Read one sequence. The target is present where its box has an area."""
    chunk, class_name, (path, folder) = entry.folder, entry.facts["class"], entry.files
    names, boxes = image_names(folder), read_boxes(path)
    # In test sequences only the first frame has a box.
    if chunk.name == TEST:
        names, truth, notes = truth_of_test(folder, names, boxes)
    else:
        names, notes = fitted(folder, names, boxes)
        truth = truth_of(boxes, None)
    metadata = {"chunk": chunk.name} | ({"class": class_name} if class_name else {})
    expressions = (class_name,) if class_name else ()
    frames = frames_of(folder, names)
    return Sequence(entry.name, frames, expressions, FPS, folder, metadata, truth=truth, notes=notes)


TRACKINGNET = register_reader(Reader("trackingnet", tuple(CHUNKS), find, read, sparse=("test", "all")))
