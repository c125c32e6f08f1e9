"""Question and answer as a row of the files that other trainers read.

ms-swift (https://github.com/modelscope/ms-swift, docs "Custom dataset"): `messages`, `images`, `objects`.
LLaMA-Factory (https://github.com/hiyouga/LLaMA-Factory, data/README.md): the ShareGPT and the Alpaca form,
which `dataset_info.json` declares. Both put a picture in at each `<image>`, in the order of `images`.
"""

import json
from dataclasses import dataclass
from typing import Any

from data_prep.geometry import Box

IMAGE = "<image>"
LLAMAFACTORY_INFO = "dataset_info.json"

ROLES = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",  # once tags are named, a row that begins with an unnamed one is dropped
}
# Once columns are named at all, LLaMA-Factory takes no other: each has to be here, `images` above all.
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


@dataclass(frozen=True)
class Turn:
    """A question with its pictures, and its answer.

    The question is `instruction`, a line break and `query`, without the break where one of them is empty.
    `box_xyxy` is the answer's box in pixels of the last picture's file, called `ref`; None where the target
    is absent. Turns that ask for no box have no `ref`.
    """

    instruction: str
    answer: str
    images: tuple[str, ...]
    query: str = ""
    ref: str | None = None
    box_xyxy: Box | None = None

    @property
    def messages(self) -> list[dict[str, str]]:
        """The question and its answer as a chat."""
        question = "\n".join(filter(None, (self.instruction, self.query)))
        return [{"role": "user", "content": question}, {"role": "assistant", "content": self.answer}]


def row_of(turn: Turn, form: str) -> dict[str, Any]:
    """A turn as a row of `form`, a name of `INFO` or `swift`."""
    images = list(turn.images)
    if form == "llamafactory_alpaca":
        return {
            "instruction": turn.instruction,
            "input": turn.query,
            "output": turn.answer,
            "images": images,
        }
    row: dict[str, Any] = {"messages": turn.messages, "images": images}
    if form == "swift" and turn.ref is not None:
        row["objects"] = _objects(turn.ref, turn.box_xyxy, len(images) - 1)
    return row


def _objects(ref: str, box_xyxy: Box | None, image: int) -> dict[str, Any]:
    """What ms-swift knows of a row's boxes.

    A box is in pixels of the picture `image_id`, which must be named: without it ms-swift scales the box
    by the size of the first picture, here the template.
    """
    boxes = [] if box_xyxy is None else [list(box_xyxy)]
    return {
        "ref": [ref] * len(boxes),
        "bbox": boxes,
        "bbox_type": "real",
        "image_id": [image] * len(boxes),
    }


def line_of(row: dict[str, Any]) -> str:
    """A row as a line of JSON."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def dataset_info(form: str, file_name: str) -> str:
    """`dataset_info.json` for a file of `form` beside it; the data set has the file's name."""
    return json.dumps({file_name.split(".")[0]: {"file_name": file_name, **INFO[form]}}, indent=2) + "\n"
