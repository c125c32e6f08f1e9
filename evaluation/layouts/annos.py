"""The ground truth of a MATLAB toolkit: a folder `annos` with boxes, flags of absence and attributes.

Boxes are in `annos/<seq>.txt`, flags in `annos/absent/<seq>.txt`, and attributes in `annos/att/<seq>.txt`.
TNL2K has its boxes in `annos/gt_rect/<seq>.txt` and its attributes in `annos/att/<seq>_attribute.txt`. Some
archives unpack into `annos/annos`; the innermost folder of that name is used.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.errors import UserError, did_you_mean
from configs.terminal import counted
from data_prep.files import check_utf8, real_path
from data_prep.readers.annotations import FLAGS, read_flags
from data_prep.readers.folders import read_names
from evaluation.boxes.ragged import BoxTruth
from evaluation.layouts.tables import read_tables

# The columns of `annos/att`, from the main scripts of the toolkits:
# https://github.com/HengLan/LaSOT_Evaluation_Toolkit (14 columns), https://github.com/Event-AHU/Open_VLTrack
# (15), https://github.com/wangxiao5791509/TNL2K_evaluation_toolkit (17).
LASOT = ("IV", "POC", "DEF", "MB", "CM", "ROT", "BC", "VC", "SV", "FOC", "FM", "OV", "LR", "ARC")
TNLLT = ("CM", "ROT", "DEF", "FOC", "IV", "OV", "POC", "VC", "SV", "BC", "MB", "ARC", "LR", "FM", "AS")
TNL2K = (*TNLLT, "TC", "MS")
NAMES = {
    "IV": "Illumination variation",
    "POC": "Partial occlusion",
    "DEF": "Deformation",
    "MB": "Motion blur",
    "CM": "Camera motion",
    "ROT": "Rotation",
    "BC": "Background clutter",
    "VC": "Viewpoint change",
    "SV": "Scale variation",
    "FOC": "Full occlusion",
    "FM": "Fast motion",
    "OV": "Out of view",
    "LR": "Low resolution",
    "ARC": "Aspect ratio change",
    "AS": "Adversarial samples",
    "TC": "Thermal crossover",
    "MS": "Modality switch",
}


def attribute_names(count: int) -> tuple[str, ...]:
    """The names of `count` columns of attributes.

    The benchmark follows from the number of columns. Where none of them has so many, names are numbers.
    """
    # The toolkits have different numbers of columns, so the number identifies the benchmark.
    known = {len(columns): columns for columns in (LASOT, TNLLT, TNL2K)}.get(count)
    if known is None:
        return tuple(f"attribute {number}" for number in range(1, count + 1))
    return tuple(NAMES[column] for column in known)


BOX_FOLDER = "gt_rect"
REMEDY = "restore it from the benchmark"


@dataclass(frozen=True)
class Annos:
    """The folder of boxes, and the folder that contains `absent` and `att` (`flags`)."""

    boxes: Path
    flags: Path

    @staticmethod
    def find(truth: Path) -> "Annos":
        """The innermost folder `annos`, or `truth` itself. Raises UserError where there is no such folder."""
        if not truth.is_dir():
            raise UserError(f"truth={truth}: no such folder; point truth= at the toolkit's annos")
        folder = truth
        while (folder / "annos").is_dir():
            folder = folder / "annos"
        boxes = folder / BOX_FOLDER if (folder / BOX_FOLDER).is_dir() else folder
        return Annos(boxes, folder)


def read_annos(
    truth: Path,
    sequences: Path | None = None,
    absent_flag: int | None = None,
    needs_flags: bool = False,
) -> tuple[BoxTruth, list[str]]:
    """The ground truth in a folder, and notes on its files.

    `sequences` is a file with the names of the sequences to read, one on each line; by default all are read,
    in alphabetical order. `absent_flag` is the flag that means *absent*. Where it is not known (None), it is
    the one that first frames do not have, since the target is visible there. With `needs_flags` a missing
    folder of flags is an error. Raises UserError where a file is missing or invalid.
    """
    # 1. Find the sequences and read all boxes in one go.
    where, notes = Annos.find(truth), list[str]()
    found = _found(where.boxes)
    names = found if sequences is None else _listed(sequences, where.boxes, found)
    tables = read_tables([f"{where.boxes}/{name}.txt" for name in names], 4)
    for number, name in enumerate(names):
        _check(where.boxes / f"{name}.txt", number in tables.wrong, int(tables.counts[number]))
    for number, wrong in tables.wrong.items():
        line, reason = wrong[0]
        raise UserError(f"{where.boxes / names[number]}.txt: line {line} {reason}; {REMEDY}")
    # 2. Flags and attributes.
    starts = np.concatenate([[0], np.cumsum(tables.counts)])
    _note_odd_boxes(where.boxes, names, tables.values, starts, notes)
    flags = _flags(where.flags / "absent", names, starts, needs_flags, notes)
    absent = None if flags is None else _absent(flags, starts, absent_flag, notes)
    if absent is not None:
        _note_never_present(absent, starts, names, notes)
    # All toolkits call this folder `annos`, so the benchmark is named by the folder that contains it.
    home = real_path(where.flags)
    while home.name == "annos":
        home = home.parent
    attributes = _attributes(where.flags / "att", names, notes)
    truth_read = BoxTruth(
        home.name,
        tuple(names),
        starts,
        tables.values,
        absent,
        attributes=attributes,
        not_asked=tuple(sorted(set(found) - set(names))),
    )
    return truth_read, notes


def _found(folder: Path) -> list[str]:
    """The sorted names of all sequences in a folder. Raises UserError where there are none, and for a name
    that is not UTF-8.
    """
    # Hidden files are skipped: archives that were made on macOS contain `._<name>` beside each file.
    found = sorted(path.name[:-4] for path in folder.glob("*.txt") if path.name[0] != ".")
    if not found:
        raise UserError(f"{folder}: holds no <sequence>.txt; point truth= at the toolkit's annos")
    for name in found:
        check_utf8(folder / name)
    return found


def _listed(sequences: Path, folder: Path, found: list[str]) -> list[str]:
    """The names in a file, in its order. Raises UserError for one of which there is no ground truth."""
    if not sequences.is_file():
        raise UserError(f"sequences={sequences}: no such file; name a list, a sequence a line")
    names, known = read_names(sequences), set(found)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, found)
            raise UserError(
                f"{sequences}: names {name}, of which {folder} has no ground truth; remove it{hint}"
            )
    return names


def _check(path: Path, is_wrong: bool, count: int) -> None:
    """Raise UserError for an empty file of boxes."""
    if not count and not is_wrong:
        raise UserError(f"{path}: holds no boxes; {REMEDY}")


def _note_odd_boxes(
    folder: Path, names: list[str], boxes_xywh: np.ndarray, starts: np.ndarray, notes: list[str]
) -> None:
    """Note boxes (4, F) with NaN, infinity or a negative side, unless all four numbers are NaN (absent)."""
    is_odd = ~np.isfinite(boxes_xywh).all(axis=0) | (boxes_xywh[2:] < 0).any(axis=0)
    odd = np.flatnonzero(is_odd & ~np.isnan(boxes_xywh).all(axis=0))
    if len(odd):
        # side="right" and - 1: the last sequence that starts at this frame or before it.
        number = int(np.searchsorted(starts, odd[0], side="right")) - 1
        remark = f"{counted(len(odd), 'box')} of the truth with NaN, infinity or negative sides"
        notes.append(
            f"{folder / names[number]}.txt: line {odd[0] - starts[number] + 1}: {remark}; counted as the "
            "protocol's formula says"
        )


def _flags(
    folder: Path, names: list[str], starts: np.ndarray, needed: bool, notes: list[str]
) -> np.ndarray | None:
    """The flags of all frames, float64 (F,), NaN where a file is too short; None where there are no files.

    Adds to `notes` what is wrong with the number of flags.
    """
    if not folder.is_dir():
        if needed:
            raise UserError(
                f"{folder}: no such folder; this protocol needs the flags of absence in it; {REMEDY}"
            )
        return None
    tables = read_tables([f"{folder}/{name}.txt" for name in names], 1, int(starts[-1]))
    ends, flags = np.cumsum(tables.counts), np.full(int(starts[-1]), np.nan)
    for number, name in enumerate(names):
        path = folder / f"{name}.txt"
        if tables.missing[number]:
            raise UserError(f"{path}: no such file; {REMEDY}")
        # The rows of all files are concatenated: those of this file are the last `counts` before its end.
        values = tables.values[0, ends[number] - tables.counts[number] : ends[number]]
        if number in tables.wrong:
            # All flags may be on one line, which the reader of tables does not accept.
            values = read_flags(path).astype(np.float64)
        # Another number would count as present, since it is not the flag of absence.
        for line in np.flatnonzero(~np.isin(values, FLAGS))[:1]:
            raise UserError(f"{path}: line {line + 1}: {values[line]:g} is neither 0 nor 1; {REMEDY}")
        # Flags beyond the last frame are cut, and frames beyond the last flag stay NaN.
        part = flags[starts[number] : starts[number + 1]]
        part[: len(values)] = values[: len(part)]
        if len(values) != len(part):
            what = (
                "the target counts as present in the other frames"
                if len(values) < len(part)
                else "the rest is cut"
            )
            notes.append(f"{path}: {counted(len(values), 'flag')} for {counted(len(part), 'frame')}; {what}")
    return flags


def _absent(flags: np.ndarray, starts: np.ndarray, absent_flag: int | None, notes: list[str]) -> np.ndarray:
    """In which frames the target is absent, bool (F,)."""
    first = flags[starts[:-1]]
    if absent_flag is None:
        absent_flag = int(np.mean(first == 0) > 0.5)
        notes.append(
            f"annos/absent: flag {absent_flag} is taken for absent, because first frames have the other flag"
        )
    elif np.mean(first == absent_flag) >= 0.5:
        notes.append(
            f"annos/absent: most first frames have the flag {absent_flag}, which means absent in this "
            "protocol; check that protocol= is the one of this benchmark"
        )
    # NaN equals no flag, so the target is present where flags are missing.
    return np.asarray(flags == absent_flag)


def _note_never_present(absent: np.ndarray, starts: np.ndarray, names: list[str], notes: list[str]) -> None:
    """Note the sequences in which every frame is flagged: flags of another meaning look so."""
    never = np.logical_and.reduceat(absent, starts[:-1])
    if never.any():
        notes.append(
            f"annos/absent: every frame of {counted(int(never.sum()), 'sequence')} is flagged as absent, the "
            f"first is {names[int(never.argmax())]}; check its flags"
        )


def _attributes(folder: Path, names: list[str], notes: list[str]) -> dict[str, np.ndarray]:
    """Which sequences have each attribute, bool (S,), by name; none where a file is missing
    or does not fit.
    """
    if not folder.is_dir():
        return {}
    rows = []
    for name in names:
        paths = [folder / f"{name}.txt", folder / f"{name}_attribute.txt"]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            notes.append(f"{paths[0]}: no such file; attributes are left out")
            return {}
        rows.append(read_flags(path))
        if len(rows[-1]) != len(rows[0]):
            notes.append(
                f"{path}: {len(rows[-1])} attributes, others have {len(rows[0])}; attributes are left out"
            )
            return {}
    # (S, attributes); the transposed table has one row for each attribute.
    table = np.array(rows) > 0
    return dict(zip(attribute_names(table.shape[1]), table.T, strict=True))
