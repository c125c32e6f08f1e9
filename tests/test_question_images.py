"""Sizes of resized images: Qwen's own rule, without its package's torch."""

import subprocess
import sys

import numpy as np
import pytest
from qwen_vl_utils import smart_resize

from configs.errors import UserError
from data_prep.contract.images import budgeted, smart_size

sides = pytest.mark.parametrize("side", [28, 32])


@sides
def test_sizes_are_those_of_qwens_own_rule(side: int) -> None:
    rng = np.random.default_rng(0)
    for width, height in rng.integers(1, 3000, (4000, 2)).tolist():
        if max(width, height) > 200 * min(width, height):
            continue
        least = int(rng.integers(side * side, 400_000))
        most = least + int(rng.integers(0, 800_000))
        theirs = smart_resize(height, width, factor=side, min_pixels=least, max_pixels=most)
        assert smart_size((width, height), least, most, side) == theirs[::-1], (width, height, least, most)


@sides
def test_a_size_is_never_above_its_budget(side: int) -> None:
    for width in range(40, 2000, 37):
        resized = budgeted((width, 480), 75264, 75264, side)
        assert resized[0] * resized[1] <= 75264 and resized[0] % side == resized[1] % side == 0


def test_an_image_like_a_ribbon_is_refused() -> None:
    assert budgeted((2000, 10), 3136, 589824, 28)[1] == 28
    with pytest.raises(UserError, match="2001x10 is too long"):
        budgeted((2001, 10), 3136, 589824, 28)


def test_exports_do_not_load_torch() -> None:
    modules = "data_prep.exchange.export, data_prep.exchange.reasoningtrack"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
