"""Image files: what cannot be read is one line, and 16 bits a pixel are not cut off."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from configs.errors import UserError
from data_prep.frames import decoded_size, image_size, read_image


def test_of_sixteen_bits_the_high_ones_are_read_as_opencv_does(tmp_path: Path) -> None:
    path = tmp_path / "thermal.png"
    values = (np.arange(24 * 32).reshape(24, 32) * 85).astype(np.uint16)
    Image.fromarray(values).save(path)
    assert np.array_equal(read_image(path), cv2.imread(str(path))[..., ::-1])
    assert read_image(path).max() == values.max() >> 8


def written(form: str) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, form)
    return file.getvalue()


WHOLE = {form: written(form) for form in ("PNG", "JPEG", "BMP")}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(WHOLE)),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=4),
    st.integers(0, 900),
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_damaged_image_is_read_or_one_line(
    tmp_path: Path, form: str, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(WHOLE[form])
    for at, value in changes:
        data[at % len(data)] = value
    path = tmp_path / "x.jpg"
    path.write_bytes(data[: len(data) - cut] if cut < 300 else data)
    for read in (image_size, decoded_size, read_image):
        try:
            read(path)
        except UserError as fault:
            assert str(fault).startswith(f"{path}: frame cannot be read (") and "\n" not in str(fault)
