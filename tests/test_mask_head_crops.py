"""Masks of small boxes from crops: where the crop lies, and what is taken from it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.geometry import Box
from models.interfaces import MaskResult
from models.mask_head.config import MASK_HEADS
from models.mask_head.cropping import CONTEXT, CroppingMaskHead, square_around
from models.mask_head.registry import load_mask_head
from models.mask_head.sam2 import MaskHead
from train.scratch.mask_head_metrics import figures_of_box

CPU = torch.device("cpu")
SIZE = (480, 320)


class BoxMasking:
    """Fills the box; features are the image, and memories are texts with the image's size."""

    absent_in_crops = False

    def encode(self, frame: np.ndarray) -> np.ndarray:
        return frame

    def segment(
        self, features: np.ndarray, boxes_xyxy: Sequence[Box], memories: Sequence[Any]
    ) -> list[MaskResult]:
        height, width = features.shape[:2]
        results = []
        for left, top, right, bottom in boxes_xyxy:
            mask = np.zeros((height, width), bool)
            mask[round(top) : round(bottom), round(left) : round(right)] = True
            found = None if self.absent_in_crops and width < SIZE[0] else mask
            results.append(MaskResult(found, 0.9, width / 1000, f"of {width}"))
        return results

    def propagate(self, memories: Sequence[Any], features: np.ndarray) -> list[MaskResult]:
        return [MaskResult(None, 0.1, 0.0, (memory, features.shape[1])) for memory in memories]

    def identity(self) -> dict[str, Any]:
        return {"checkpoint": "boxes", "dtype": "none"}


def frame() -> np.ndarray:
    return np.zeros((SIZE[1], SIZE[0], 3), np.uint8)


@pytest.mark.parametrize("box", [(100, 80, 130, 100), (0, 0, 12, 30), (470, 300, 480, 320), (3, 310, 9, 320)])
def test_a_small_box_has_a_square_inside_the_frame(box: Box) -> None:
    square = square_around(box, SIZE)
    assert square is not None
    left, top, right, bottom = square
    assert right - left == bottom - top == max(80, round(CONTEXT * max(box[2] - box[0], box[3] - box[1])))
    assert left >= 0 and top >= 0 and right <= SIZE[0] and bottom <= SIZE[1]
    assert left <= box[0] and top <= box[1] and right >= box[2] and bottom >= box[3]


def test_a_square_is_centred_where_the_frame_allows_it() -> None:
    assert square_around((100, 80, 130, 100), SIZE) == (55, 30, 175, 150)


def test_large_boxes_have_none() -> None:
    assert square_around((100, 100, 160, 160), SIZE) == (10, 10, 250, 250)
    assert square_around((100, 100, 161, 160), SIZE) is None


def test_the_mask_is_that_of_the_crop_and_the_memory_that_of_the_frame() -> None:
    head = CroppingMaskHead(BoxMasking())
    small, large = (101.0, 82.0, 130.0, 100.0), (50.0, 20.0, 400.0, 300.0)
    results = head.segment(head.encode(frame()), [small, large], [None, "before"])
    assert [result.memory for result in results] == ["of 480", "of 480"]
    assert [result.iou for result in results] == [0.116, 0.48]
    for result, (left, top, right, bottom) in zip(results, (small, large), strict=True):
        expected = np.zeros((SIZE[1], SIZE[0]), bool)
        expected[int(top) : int(bottom), int(left) : int(right)] = True
        assert result.mask is not None and np.array_equal(result.mask, expected)


def test_a_crop_without_a_mask_changes_nothing() -> None:
    head = BoxMasking()
    head.absent_in_crops = True
    cropping = CroppingMaskHead(head)
    box = (101.0, 82.0, 130.0, 100.0)
    (result,) = cropping.segment(cropping.encode(frame()), [box], [None])
    assert result.iou == 0.48 and result.mask is not None


def test_propagation_sees_the_whole_frame() -> None:
    head = CroppingMaskHead(BoxMasking())
    (result,) = head.propagate(["memory"], head.encode(frame()))
    assert result.memory == ("memory", 480)


def test_the_key_wraps_the_mask_head_and_is_part_of_its_identity() -> None:
    plain = load_mask_head(MASK_HEADS["nano"], CPU)
    cropping = load_mask_head(dataclasses.replace(MASK_HEADS["nano"], crop=True), CPU)
    assert isinstance(plain, MaskHead) and isinstance(cropping, CroppingMaskHead)
    assert cropping.identity() == {**plain.identity(), "crop": True}


def test_crops_raise_the_iou_of_small_targets() -> None:
    """The shipped mask head, on scenes of small targets."""
    head = load_mask_head(MASK_HEADS["nano"], CPU)
    figures = {
        crop: [figures_of_box(each, "small_val", index, jitter=0.1) for index in range(12)]
        for crop, each in ((False, head), (True, CroppingMaskHead(head)))
    }
    plain, cropped = (
        np.mean([figure.iou for figure in figures[crop] if figure is not None]) for crop in (False, True)
    )
    assert cropped > plain + 0.05, f"{plain:.3f} without crops, {cropped:.3f} with them"
