"""Layouts of results over boxes: the folder of each tracker, which has a file `<sequence>.txt` a sequence."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError, did_you_mean
from data_prep.files import check_utf8, is_file, real_path

MASK_FOLDER = "masks"
SUFFIXES = ("_tracking_result", "_tracking_results")
# Suffixes of files that pytracking (https://github.com/visionml/pytracking) and its successors write beside
# the file of a result.
COMPANIONS = ("_time", "_all_boxes", "_all_scores", "_object_presence_scores", "_confidence", "_scores")


@dataclass(frozen=True)
class TrackerFolder:
    """The name of a tracker, its folder, and the names of the text files in it without their suffix.

    With `masks` the files have a mask for each frame instead of a box.
    """

    tracker: str
    folder: Path
    files: frozenset[str]
    masks: bool = False

    def unknown(self, sequences: Iterable[str]) -> list[str]:
        """The sorted names of files of no sequence, without those that trackers write beside a result."""
        known = set(sequences)
        # Only companions of known sequences: `<other>_time` without a sequence `<other>` is reported.
        companions = {name for name in self.files for end in COMPANIONS if name.removesuffix(end) in known}
        return sorted(self.files - known - companions)


def toolkit_folders(results: Path, sequences: Sequence[str]) -> list[TrackerFolder]:
    """`<tracker>_tracking_result/<seq>.txt`, the layout of the MATLAB toolkits (LaSOT, TNL2K, TNLLT)."""
    # Toolkits keep results in `tracking_results`; both that folder and its parent are accepted.
    inner = results / "tracking_results"
    found = _folders_below(inner if inner.is_dir() else results, 1, sequences)
    return [TrackerFolder(_without_suffix(each.tracker), each.folder, each.files) for each in found]


def plain_folders(results: Path, sequences: Sequence[str]) -> list[TrackerFolder]:
    """`<tracker>/<seq>.txt`, the layout that `python -m infer data=…` writes."""
    return _folders_below(results, 1, sequences)


def mask_folders(results: Path, sequences: Sequence[str]) -> list[TrackerFolder]:
    """`<tracker>/masks/<seq>.txt`, which `python -m infer data=…` writes too: the boxes around the masks
    count.
    """
    found = []
    for each in _folders_below(results, 2, sequences):
        if each.folder.name == MASK_FOLDER:
            tracker = each.folder.parent.name
            found.append(TrackerFolder(tracker, each.folder, each.files, masks=True))
    if not found:
        raise _nothing(results)
    return found


def pytracking_folders(results: Path, sequences: Sequence[str]) -> list[TrackerFolder]:
    """`<tracker>/<parameter>[_<run>]/<seq>.txt`; the name of a tracker is `<tracker>_<parameter>`."""
    return _folders_below(results, 2, sequences)


def sutrack_folders(results: Path, sequences: Sequence[str]) -> list[TrackerFolder]:
    """`<tracker>/<parameter>/<data set>/<seq>.txt`, or without the data set for some.

    This is the layout of `lib/test/evaluation/running.py` of https://github.com/chenxin-dlut/SUTrack. Where a
    tracker has folders of several data sets, the one with most of the sequences is used.
    """
    best: dict[str, tuple[int, TrackerFolder]] = {}
    # Folders of the greater depth come first, so they win where both have equally many sequences.
    for each in [
        *_folders_below(results, 3, sequences, optional=True),
        *_folders_below(results, 2, sequences, optional=True),
    ]:
        # With or without the folder of the data set, a tracker is named by the first two folders.
        parts = each.folder.relative_to(results).parts
        name = "_".join(parts[:2])
        shared = len(each.files.intersection(sequences))
        if name not in best or shared > best[name][0]:
            best[name] = shared, TrackerFolder(name, each.folder, each.files)
    if not best:
        raise _nothing(results)
    return [folder for _, folder in sorted(best.values(), key=lambda pair: pair[1].tracker)]


FOLDERS: dict[str, Callable[[Path, Sequence[str]], list[TrackerFolder]]] = {
    "toolkit": toolkit_folders,
    "data": plain_folders,
    "masks": mask_folders,
    "pytracking": pytracking_folders,
    "sutrack": sutrack_folders,
}


def select_trackers(found: list[TrackerFolder], names: Sequence[str]) -> list[TrackerFolder]:
    """The named trackers in this order, or all if no name is given.

    Raises UserError for one without results, and where the name of a folder is not UTF-8.
    """
    by_name = {each.tracker: each for each in found}
    for name in names:
        if name not in by_name:
            known = ", ".join(by_name)
            raise UserError(
                f"trackers: there are no results of {name!r}, only of {known}{did_you_mean(name, by_name)}"
            )
    selected = [by_name[name] for name in dict.fromkeys(names)] if names else found
    for each in selected:
        check_utf8(each.folder)
        check_utf8(Path(each.tracker))  # may be the real name of a folder that a link leads to
    return selected


def _folders_below(
    results: Path, depth: int, sequences: Sequence[str], optional: bool = False
) -> list[TrackerFolder]:
    """The folders with text files `depth` levels below `results`.

    If there are none and `results` itself has a result of one of the `sequences`, it is the folder of a
    single tracker. Raises UserError where nothing is found, unless `optional`.
    """
    if not results.is_dir():
        raise UserError(f"results={results}: no such folder; point results= at the trackers' results")
    level = [results]
    for _ in range(depth):
        level = [path for folder in level for path in _folders(folder)]
    found = [(folder, _text_files(folder)) for folder in level]
    # A folder without text files is no tracker's, such as one of plots.
    kept = [
        TrackerFolder("_".join(folder.relative_to(results).parts), folder, files)
        for folder, files in found
        if files
    ]
    # `results=` may name the folder of one tracker instead of the folder above it.
    itself = _text_files(results)
    if not kept and itself.intersection(sequences):
        kept = [TrackerFolder(real_path(results).name, results, itself)]
    if not kept and not optional:
        raise _nothing(results)
    return kept


def _nothing(results: Path) -> UserError:
    return UserError(f"results={results}: holds no results of this layout; check results= and layout=")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _text_files(folder: Path) -> frozenset[str]:
    with os.scandir(folder) as entries:
        return frozenset(entry.name[:-4] for entry in entries if _is_text(entry))


def _is_text(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".txt") and entry.name[0] != "." and is_file(entry)


def _without_suffix(name: str) -> str:
    for suffix in SUFFIXES:
        # A folder that has the suffix as its whole name keeps it.
        name = name.removesuffix(suffix) or name
    return name
