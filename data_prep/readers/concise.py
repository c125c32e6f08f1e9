"""LaSOT, TNL2K and GOT-10k with the concise texts of DTVLT in place of their own expressions.

DTVLT (http://videocube.aitestunion.com) consists of sentences written by a language model, one for every
hundred frames of the training sequences: files `<name>.txt` of lines `<frame> <text>`. The folder of these
files is expected where DUTrack (https://github.com/GXNU-ZhongLab/DUTrack) has it. Test sequences keep their
own expressions, and everything else is read by the data set's own reader.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from configs.errors import UserError
from data_prep.readers.annotations import read_timed_expressions
from data_prep.readers.got10k import GOT10K
from data_prep.readers.lasot import LASOT
from data_prep.readers.reader import Entry, Reader, register_reader
from data_prep.readers.tnl2k import TNL2K
from data_prep.sequence import Sequence

TEXTLESS = ("val", "test")


def find(root: Path, split: str, own: Reader, place: str) -> list[Entry]:
    """The sequences that the data set's own reader finds; those for training with their files of texts."""
    texts, entries = root / place, own.find(root, split)
    if split in TEXTLESS:
        return entries
    if not texts.is_dir():
        raise UserError(f"{texts}: no such folder; unpack the concise texts of DTVLT there")
    return [_with_texts(entry, texts / f"{entry.folder.name}.txt") for entry in entries]


def _with_texts(entry: Entry, path: Path) -> Entry:
    return replace(entry, facts=entry.facts | {"concise": True}, files=(*entry.files, path))


def read(entry: Entry, own: Reader) -> Sequence:
    """Read one sequence with the expressions of its file of texts."""
    if "concise" not in entry.facts:
        return own.read(entry)
    # The file of texts is the last one; the reader of the data set gets its own files only.
    *files, texts = entry.files
    sequence = own.read(replace(entry, files=tuple(files)))
    expressions, spans = read_timed_expressions(texts, len(sequence.frames))
    return replace(sequence, expressions=expressions, spans=spans)


def _reader(own: Reader, place: str) -> Reader:
    # Texts exist for training sequences, so a split with both kinds would be inconsistent.
    splits = tuple(split for split in own.splits if split != "all")
    found, reading = partial(find, own=own, place=place), partial(read, own=own)
    return replace(own, name=f"{own.name}_concise", splits=splits, find=found, read=reading)


LASOT_CONCISE = register_reader(_reader(LASOT, "lasot_train_concise"))
TNL2K_CONCISE = register_reader(_reader(TNL2K, "tnl2k_train_concise"))
GOT10K_CONCISE = register_reader(_reader(GOT10K, "train/got-10k_train_concise"))
