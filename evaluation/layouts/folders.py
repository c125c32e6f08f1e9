"""Where the results of trackers lie: a folder each, with a file `<sequence>.txt` for every sequence."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError, did_you_mean
from data_prep.files import is_file, real_path

MASKS = "masks"
SUFFIXES = ("_tracking_result", "_tracking_results")
# What pytracking and those that came from it write beside a result: https://github.com/visionml/pytracking
BESIDE = ("_time", "_all_boxes", "_all_scores", "_object_presence_scores", "_confidence", "_scores")


@dataclass(frozen=True)
class TrackerFolder:
    """A tracker's name, its folder, and the names of the text files in it without their ending.

    `masks`: the files hold a mask line a frame, not a box.
    """

    tracker: str
    folder: Path
    files: frozenset[str]
    masks: bool = False

    def unknown(self, sequences: Iterable[str]) -> list[str]:
        """Files of no sequence, by name; those that trackers write beside a result are not meant."""
        known = set(sequences)
        beside = {name for name in self.files for end in BESIDE if name.removesuffix(end) in known}
        return sorted(self.files - known - beside)


def toolkit_folders(results: Path, sequences: Sequence[str]) -> list[TrackerFolder]:
    """`<tracker>_tracking_result/<seq>.txt`, as the toolkits of LaSOT and its kin have them."""
    inner = results / "tracking_results"
    found = _below(inner if inner.is_dir() else results, 1, sequences)
    return [TrackerFolder(_without_suffix(each.tracker), each.folder, each.files) for each in found]


def plain_folders(results: Path, sequences: Sequence[str]) -> list[TrackerFolder]:
    """`<tracker>/<seq>.txt`, as `python -m infer data=…` writes them."""
    return _below(results, 1, sequences)


def mask_folders(results: Path, sequences: Sequence[str]) -> list[TrackerFolder]:
    """`<tracker>/masks/<seq>.txt`, which lie beside those boxes: their own boxes are scored."""
    found = []
    for each in _below(results, 2, sequences):
        if each.folder.name == MASKS:
            tracker = each.folder.parent.name
            found.append(TrackerFolder(tracker, each.folder, each.files, masks=True))
    if not found:
        raise _nothing(results)
    return found


def pytracking_folders(results: Path, sequences: Sequence[str]) -> list[TrackerFolder]:
    """`<tracker>/<parameter>[_<run>]/<seq>.txt`; a tracker's name is both, as in pytracking's tables."""
    return _below(results, 2, sequences)


def sutrack_folders(results: Path, sequences: Sequence[str]) -> list[TrackerFolder]:
    """`<tracker>/<parameter>/<data set>/<seq>.txt`, or without the data set for some.

    `lib/test/evaluation/running.py` of https://github.com/chenxin-dlut/SUTrack. Of several data sets' folders
    the one is taken that has most of the sequences.
    """
    best: dict[str, tuple[int, TrackerFolder]] = {}
    for each in [
        *_below(results, 3, sequences, optional=True),
        *_below(results, 2, sequences, optional=True),
    ]:
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


def chosen(found: list[TrackerFolder], names: Sequence[str]) -> list[TrackerFolder]:
    """Those that are named, in this order; all where none is. Raises UserError for a name without results."""
    by_name = {each.tracker: each for each in found}
    for name in names:
        if name not in by_name:
            known = ", ".join(by_name)
            raise UserError(f"trackers: no results of {name!r}, but of {known}{did_you_mean(name, by_name)}")
    return [by_name[name] for name in dict.fromkeys(names)] if names else found


def _below(
    results: Path, depth: int, sequences: Sequence[str], optional: bool = False
) -> list[TrackerFolder]:
    """Folders so many levels below `results` that hold text files, or `results` itself where it does."""
    if not results.is_dir():
        raise UserError(f"results={results}: no such folder; point results= at the trackers' results")
    level = [results]
    for _ in range(depth):
        level = [path for folder in level for path in _folders(folder)]
    found = [(folder, _texts(folder)) for folder in level]
    kept = [
        TrackerFolder("_".join(folder.relative_to(results).parts), folder, files)
        for folder, files in found
        if files
    ]
    itself = _texts(results)
    if not kept and itself.intersection(sequences):
        kept = [TrackerFolder(real_path(results).name, results, itself)]
    if not kept and not optional:
        raise _nothing(results)
    return kept


def _nothing(results: Path) -> UserError:
    return UserError(f"results={results}: holds no results of this layout; check results= and layout=")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _texts(folder: Path) -> frozenset[str]:
    with os.scandir(folder) as entries:
        return frozenset(entry.name[:-4] for entry in entries if _is_text(entry))


def _is_text(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".txt") and entry.name[0] != "." and is_file(entry)


def _without_suffix(name: str) -> str:
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix) or name
    return name
