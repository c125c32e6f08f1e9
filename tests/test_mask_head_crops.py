"""Masks of small boxes from crops: where the crop lies, and what is taken from it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.geometry import Box, box_of_mask
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
    shift = 0

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
        """The mask of the box that the memory is, shifted by `shift` pixels."""
        results = self.segment(features, [tuple(x + self.shift for x in box) for box in memories], memories)
        return [dataclasses.replace(each, object_score=0.7, memory="next") for each in results]

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
    assert square_around((100, 80, 130, 100), SIZE) == (70, 45, 160, 135)


def test_large_boxes_have_none() -> None:
    assert square_around((100, 100, 180, 160), SIZE) == (20, 10, 260, 250)
    assert square_around((100, 100, 181, 160), SIZE) is None


def test_the_mask_is_that_of_the_crop_and_the_memory_that_of_the_frame() -> None:
    head = CroppingMaskHead(BoxMasking())
    small, large = (101.0, 82.0, 130.0, 100.0), (50.0, 20.0, 400.0, 300.0)
    results = head.segment(head.encode(frame()), [small, large], [None, "before"])
    assert [result.memory for result in results] == ["of 480", "of 480"]
    assert [result.iou for result in results] == [0.087, 0.48]
    for result, (left, top, right, bottom) in zip(results, (small, large), strict=True):
        expected = np.zeros((SIZE[1], SIZE[0]), bool)
        expected[int(top) : int(bottom), int(left) : int(right)] = True
        assert result.mask is not None and np.array_equal(result.mask, expected)


def test_with_all_large_boxes_are_cropped_too_and_large_propagated_masks_are_not() -> None:
    head, box = CroppingMaskHead(BoxMasking(), "all"), (100.0, 60.0, 220.0, 160.0)
    assert head.segment(head.encode(frame()), [box], [None])[0].iou == 0.32
    assert head.propagate([box], head.encode(frame()))[0].iou == 0.48


def test_a_crop_without_a_mask_changes_nothing() -> None:
    head = BoxMasking()
    head.absent_in_crops = True
    cropping = CroppingMaskHead(head)
    box = (101.0, 82.0, 130.0, 100.0)
    (result,) = cropping.segment(cropping.encode(frame()), [box], [None])
    assert result.iou == 0.48 and result.mask is not None


def test_a_propagated_mask_is_made_again_from_its_box_in_a_crop() -> None:
    head = CroppingMaskHead(BoxMasking())
    small, large = (101.0, 82.0, 130.0, 100.0), (50.0, 20.0, 400.0, 300.0)
    first, second = head.propagate([small, large], head.encode(frame()))
    assert (first.iou, second.iou) == (0.087, 0.48), "the larger one has no crop"
    assert (first.memory, first.object_score) == ("next", 0.7), "they are those of the whole frame"
    assert first.mask is not None and box_of_mask(first.mask) == small


def test_a_crop_that_shows_something_else_changes_no_propagated_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    cropping = CroppingMaskHead(BoxMasking())
    box = (101.0, 82.0, 130.0, 100.0)
    in_crop = cropping._in_crop
    for shift, agrees in ((2, True), (15, False)):
        shifted = tuple(side + shift for side in box)
        monkeypatch.setattr(
            cropping,
            "_in_crop",
            lambda image, _, of_any_size, shifted=shifted: in_crop(image, shifted, of_any_size),
        )
        (result,) = cropping.propagate([box], cropping.encode(frame()))
        assert result.mask is not None and box_of_mask(result.mask) == (shifted if agrees else box)
        assert (result.iou < 0.48) == agrees


@pytest.mark.parametrize(
    "box", [(100, 100, 161, 160), (100, 60, 340, 300), (0, 0, 256, 20), (3, 310, 9, 320)]
)
def test_with_all_only_boxes_that_fit_into_no_square_have_none(box: Box) -> None:
    square = square_around(box, SIZE, of_any_size=True)
    assert square is not None
    left, top, right, bottom = square
    assert right - left == bottom - top <= SIZE[1]
    assert left >= 0 and top >= 0 and right <= SIZE[0] and bottom <= SIZE[1]
    assert left <= box[0] and top <= box[1] and right >= box[2] and bottom >= box[3]
    assert square_around((0, 0, 257, 20), SIZE, of_any_size=True) is None


def test_the_key_wraps_the_mask_head_and_is_part_of_its_identity() -> None:
    plain, cropping = (
        load_mask_head(dataclasses.replace(MASK_HEADS["nano"], crop=crop), CPU) for crop in ("none", "small")
    )
    assert isinstance(plain, MaskHead) and isinstance(cropping, CroppingMaskHead)
    assert cropping.identity() == {**plain.identity(), "crop": "small"}


def test_crops_raise_the_iou_of_small_targets() -> None:
    """The shipped mask head, on scenes of small targets."""
    head = load_mask_head(dataclasses.replace(MASK_HEADS["nano"], crop="none"), CPU)
    figures = {
        crop: [figures_of_box(each, "small_val", index, jitter=0.1) for index in range(12)]
        for crop, each in ((False, head), (True, CroppingMaskHead(head)))
    }
    plain, cropped = (
        np.mean([figure.iou for figure in figures[crop] if figure is not None]) for crop in (False, True)
    )
    assert cropped > plain + 0.05, f"{plain:.3f} without crops, {cropped:.3f} with them"
