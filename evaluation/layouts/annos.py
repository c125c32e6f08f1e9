"""The truth of a toolkit: `annos/<seq>.txt`, `annos/absent/<seq>.txt`, `annos/att/<seq>.txt`.

TNL2K's has its boxes in `annos/gt_rect` and its attributes in `<seq>_attribute.txt`. Archives unpack into
`annos/annos`, and that is found, as is `annos` in a toolkit's own folder.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.errors import UserError, did_you_mean
from configs.terminal import counted
from data_prep.files import real_path
from data_prep.readers.annotations import read_flags
from data_prep.readers.folders import read_names
from evaluation.boxes.ragged import BoxTruth
from evaluation.layouts.tables import read_tables

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
    """The names of `count` columns; numbers where no known benchmark has so many."""
    known = {len(columns): columns for columns in (LASOT, TNLLT, TNL2K)}.get(count)
    if known is None:
        return tuple(f"attribute {number}" for number in range(1, count + 1))
    return tuple(NAMES[column] for column in known)


BOXES = "gt_rect"
MEND = "restore it from the benchmark"


@dataclass(frozen=True)
class Annos:
    """Where the truth lies: the folder of boxes, and the one that holds `absent` and `att`."""

    boxes: Path
    flags: Path

    @staticmethod
    def find(truth: Path) -> "Annos":
        """The innermost `annos`. Raises UserError where there is none."""
        if not truth.is_dir():
            raise UserError(f"truth={truth}: no such folder; point truth= at the toolkit's annos")
        folder = truth
        while (folder / "annos").is_dir():
            folder = folder / "annos"
        boxes = folder / BOXES if (folder / BOXES).is_dir() else folder
        return Annos(boxes, folder)


def read_annos(
    truth: Path,
    sequences: Path | None = None,
    absent_flag: int | None = None,
    needs_flags: bool = False,
) -> tuple[BoxTruth, list[str]]:
    """The truth in a folder, and what was noticed in reading it.

    `sequences` is a file that names some, a line each; else all are read, by name. `absent_flag` is the flag
    that says *absent*; where nobody knows (None) it is the one that the first frames do not have, since
    there the target is to be seen. Raises UserError where a file is missing or wrong.
    """
    where, notes = Annos.find(truth), list[str]()
    found = _found(where.boxes)
    names = found if sequences is None else _listed(sequences, where.boxes, found)
    tables = read_tables([f"{where.boxes}/{name}.txt" for name in names], 4)
    for number, name in enumerate(names):
        _check(where.boxes / f"{name}.txt", number in tables.wrong, int(tables.counts[number]))
    for number, wrong in tables.wrong.items():
        line, reason = wrong[0]
        raise UserError(f"{where.boxes / names[number]}.txt: line {line} {reason}; {MEND}")
    starts = np.concatenate([[0], np.cumsum(tables.counts)])
    flags = _flags(where.flags / "absent", names, starts, needs_flags, notes)
    absent = None if flags is None else _absent(flags, starts, absent_flag, notes)
    if absent is not None:
        _note_never_present(absent, starts, names, notes)
    title = real_path(where.flags)
    while title.name == "annos":
        title = title.parent
    attributes = _attributes(where.flags / "att", names, notes)
    truth_read = BoxTruth(
        title.name,
        tuple(names),
        starts,
        tables.values,
        absent,
        attributes=attributes,
        not_asked=tuple(sorted(set(found) - set(names))),
    )
    return truth_read, notes


def _found(folder: Path) -> list[str]:
    """The names of all sequences in a folder, in order."""
    found = sorted(path.name[:-4] for path in folder.glob("*.txt") if path.name[0] != ".")
    if not found:
        raise UserError(f"{folder}: holds no <sequence>.txt; point truth= at the toolkit's annos")
    return found


def _listed(sequences: Path, folder: Path, found: list[str]) -> list[str]:
    """The names in a list, all of which are to be found."""
    if not sequences.is_file():
        raise UserError(f"sequences={sequences}: no such file; name a list, a sequence a line")
    names, known = read_names(sequences), set(found)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, found)
            raise UserError(f"{sequences}: names {name}, of which {folder} has no truth; remove it{hint}")
    return names


def _check(path: Path, is_wrong: bool, count: int) -> None:
    if not count and not is_wrong:
        raise UserError(f"{path}: holds no boxes; {MEND}")


def _flags(
    folder: Path, names: list[str], starts: np.ndarray, needed: bool, notes: list[str]
) -> np.ndarray | None:
    """The flags of all frames, float64 (F,), NaN where a file has none; None where there are no files."""
    if not folder.is_dir():
        if needed:
            raise UserError(f"{folder}: no such folder; this protocol goes by the flags in it, {MEND}")
        return None
    tables = read_tables([f"{folder}/{name}.txt" for name in names], 1, int(starts[-1]))
    ends, flags = np.cumsum(tables.counts), np.full(int(starts[-1]), np.nan)
    for number, name in enumerate(names):
        path = folder / f"{name}.txt"
        if tables.missing[number]:
            raise UserError(f"{path}: no such file; {MEND}")
        values = tables.values[0, ends[number] - tables.counts[number] : ends[number]]
        if number in tables.wrong:
            values = read_flags(path).astype(np.float64)  # all on one line, or no flags at all
        part = flags[starts[number] : starts[number + 1]]
        part[: len(values)] = values[: len(part)]
        if len(values) != len(part):
            what = "the others count as showing the target" if len(values) < len(part) else "the rest is cut"
            notes.append(f"{path}: {counted(len(values), 'flag')} for {counted(len(part), 'frame')}; {what}")
    return flags


def _absent(flags: np.ndarray, starts: np.ndarray, absent_flag: int | None, notes: list[str]) -> np.ndarray:
    first = flags[starts[:-1]]
    if absent_flag is None:
        absent_flag = int(np.mean(first == 0) > 0.5)
        notes.append(
            f"annos/absent: {absent_flag} is taken for absent, since first frames have the other flag"
        )
    elif np.mean(first == absent_flag) >= 0.5:
        notes.append(
            f"annos/absent: most first frames have the flag {absent_flag}, which this protocol takes for "
            "absent; is this its benchmark?"
        )
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
    """Which sequences have each attribute, bool (S,); none where the files do not fit one another."""
    if not folder.is_dir():
        return {}
    rows = []
    for name in names:
        paths = [folder / f"{name}.txt", folder / f"{name}_attribute.txt"]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            notes.append(f"{paths[0]}: no such file; no attribute is told")
            return {}
        rows.append(read_flags(path))
        if len(rows[-1]) != len(rows[0]):
            notes.append(f"{path}: {len(rows[-1])} attributes where others have {len(rows[0])}; none is told")
            return {}
    table = np.array(rows) > 0
    return dict(zip(attribute_names(table.shape[1]), table.T, strict=True))
