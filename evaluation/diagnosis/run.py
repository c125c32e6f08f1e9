"""`task=diagnose`: where trackers lose score, as tables, `diagnosis.json` and contact sheets."""

import json
from pathlib import Path

from data_prep.files import inside, write_whole
from evaluation.config import EvaluationSettings
from evaluation.diagnosis.costs import Diagnosis
from evaluation.diagnosis.kinds import KINDS
from evaluation.diagnosis.record import diagnosis_json
from evaluation.diagnosis.sheets import sheets_of, write_sheet
from evaluation.diagnosis.tables import (
    group_tables,
    kind_table,
    overlap_table,
    overview_table,
    reason_table,
    redetection_line,
    worst_table,
)
from evaluation.diagnosis.tracks import read_tracks
from evaluation.report.table_formats import print_lines, print_table, write_table

DIAGNOSIS, TABLE, SHEETS = "diagnosis.json", "diagnosis", "sheets"


def run_diagnosis(settings: EvaluationSettings) -> list[str]:
    """Write and print the diagnosis of all trackers, the best first; returns notes on the files.

    Raises UserError, with one line for each fault of the files.
    """
    # 1. Find the kinds of all frames.
    tracks, out = read_tracks(settings), Path(settings.out)
    diagnoses = [Diagnosis.of(name, own) for name, own in tracks.by_tracker.items()]
    diagnoses.sort(key=lambda each: -each.cost().score)
    # 2. The files; diagnosis.json first: it is complete even if a picture fails.
    content = diagnosis_json(tracks.name, diagnoses, tracks.notes)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(out / DIAGNOSIS, text)
    overview = overview_table(diagnoses, (("benchmark", tracks.name),))
    write_table(out, TABLE, overview)
    sheets = []
    if tracks.source:
        for each in diagnoses:
            folder = inside(out / SHEETS, each.tracker)
            for key, sheet in sheets_of(each, tracks.source).items():
                sheets.append(folder / f"{key}.png")
                write_sheet(sheets[-1], sheet)
    # An earlier diagnosis had other trackers or kinds. Only its files are removed, since the folder may hold
    # others.
    of_kinds = {path for kind in KINDS for path in (out / SHEETS).glob(f"*/{kind.key}.png")}
    for old in of_kinds - set(sheets):
        old.unlink()
    # 3. What is printed.
    for each in diagnoses:
        tables = (kind_table(each), overlap_table(each), reason_table(each), worst_table(each))
        for table in (*tables, *group_tables(each)):
            if table.rows:  # a perfect tracker has no worst tracks
                print_table(table)
                print_lines([""])
        print_lines([redetection_line(each), ""])
    print_table(overview)
    print_lines([f"diagnosis: {out / DIAGNOSIS}", *([f"sheets: {out / SHEETS}"] * bool(sheets))])
    return list(tracks.notes)
