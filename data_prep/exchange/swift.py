"""Records for ms-swift (https://github.com/modelscope/ms-swift, its documentation "Custom dataset").

A row has `messages`, `images` and `objects`. ms-swift resolves relative paths of images against the folder
that it is started in, so the paths here are absolute.
"""

from typing import Any

from configs.errors import UserError
from data_prep.exchange.chat import Turn, record_of_turn
from data_prep.exchange.exporter import Exporter, ExportPlan, Record, register_exporter
from data_prep.geometry import Box
from data_prep.sampling.pairs import Pair


def row_of(turn: Turn) -> dict[str, Any]:
    """A turn as a row."""
    row: dict[str, Any] = {"messages": turn.messages, "images": list(turn.images)}
    if turn.ref is not None:
        row["objects"] = _objects(turn.ref, turn.box_xyxy, len(turn.images) - 1)
    return row


def _objects(ref: str, box_xyxy: Box | None, image: int) -> dict[str, Any]:
    """The boxes of a row as ms-swift reads them.

    The box is in pixels of image number `image`. The number must be given: without `image_id` ms-swift scales
    the box by the size of the first image, which is the template here.
    """
    # An absent target has no box, and then no `ref` either.
    boxes = [] if box_xyxy is None else [list(box_xyxy)]
    return {
        "ref": [ref] * len(boxes),
        "bbox": boxes,
        "bbox_type": "real",
        "image_id": [image] * len(boxes),
    }


def _record(plan: ExportPlan, pair: Pair) -> Record:
    return record_of_turn(plan, pair, row_of, relative=False)


def _check(plan: ExportPlan) -> None:
    if not plan.fill:
        return
    if plan.coordinates == "frame":
        raise UserError("fill=true: ms-swift fills boxes in resized or in thousandths; leave fill out")
    if plan.contract.separator != ", " or plan.contract.digits:
        raise UserError(
            "fill=true: ms-swift writes plain numbers with ', ' between; give contract=instruct or instruct3"
        )


def _trainer_settings(plan: ExportPlan) -> dict[str, str]:
    """With `fill`, the form in which ms-swift writes the boxes."""
    if not plan.fill:
        return {}
    norm = "norm1000" if plan.coordinates == "thousand" else "none"
    return {"QWENVL_BBOX_FORMAT": "new", "--norm_bbox": norm}


SWIFT = register_exporter(
    Exporter("swift", _record, _check, trainer_settings=_trainer_settings, row_of_turn=row_of)
)
