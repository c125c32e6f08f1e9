"""Records for LLaMA-Factory (https://github.com/hiyouga/LLaMA-Factory, data/README.md).

A file of records has the ShareGPT or the Alpaca form. `dataset_info.json`, in the same folder, declares which
one. LLaMA-Factory resolves relative paths of images against the folder of `dataset_info.json`.
"""

import json
from functools import partial
from typing import Any

from data_prep.exchange.chat import Turn, record_of_turn
from data_prep.exchange.exporter import Exporter, ExportPlan, Record, register_exporter
from data_prep.sampling.pairs import Pair

DATASET_INFO = "dataset_info.json"
ROLES = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    # Must be named as well: if some tags are named, a row that begins with an unnamed one is dropped.
    "system_tag": "system",
}
# If any columns are named, LLaMA-Factory reads only these, so all are listed (`images` above all).
INFO: dict[str, dict[str, Any]] = {
    "llamafactory_sharegpt": {
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": ROLES,
    },
    "llamafactory_alpaca": {
        "formatting": "alpaca",
        "columns": {"prompt": "instruction", "query": "input", "response": "output", "images": "images"},
    },
}


def sharegpt_row(turn: Turn) -> dict[str, Any]:
    """A turn as a row of the ShareGPT form."""
    return {"messages": turn.messages, "images": list(turn.images)}


def alpaca_row(turn: Turn) -> dict[str, Any]:
    """A turn as a row of the Alpaca form."""
    return {
        "instruction": turn.instruction,
        "input": turn.query,
        "output": turn.answer,
        "images": list(turn.images),
    }


def dataset_info(form: str, file_name: str) -> dict[str, str]:
    """`dataset_info.json` (its name and text) for a file of records; the data set has the file's name."""
    # The key is the name of the data set in LLaMA-Factory's `dataset=`.
    declared = {file_name.split(".")[0]: {"file_name": file_name, **INFO[form]}}
    return {DATASET_INFO: json.dumps(declared, indent=2) + "\n"}


def _sharegpt_record(plan: ExportPlan, pair: Pair) -> Record:
    return record_of_turn(plan, pair, sharegpt_row, relative=True)


def _alpaca_record(plan: ExportPlan, pair: Pair) -> Record:
    return record_of_turn(plan, pair, alpaca_row, relative=True)


SHAREGPT = register_exporter(
    Exporter(
        "llamafactory_sharegpt",
        _sharegpt_record,
        side_files=partial(dataset_info, "llamafactory_sharegpt"),
        row_of_turn=sharegpt_row,
    )
)
ALPACA = register_exporter(
    Exporter(
        "llamafactory_alpaca",
        _alpaca_record,
        side_files=partial(dataset_info, "llamafactory_alpaca"),
        row_of_turn=alpaca_row,
    )
)
