"""Image files: upright, of the pixels that OpenCV reads, or one line that tells why not."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from configs.errors import UserError
from data_prep.video.images import ORIENTATION_TAG, decoded_header, image_header, image_size, read_image


def test_of_sixteen_bits_the_high_ones_are_read_as_opencv_does(tmp_path: Path) -> None:
    path = tmp_path / "thermal.png"
    values = (np.arange(24 * 32).reshape(24, 32) * 85).astype(np.uint16)
    Image.fromarray(values).save(path)
    assert np.array_equal(read_image(path), cv2.imread(str(path))[..., ::-1])
    assert read_image(path).max() == values.max() >> 8


@pytest.mark.parametrize("orientation", [0, *range(1, 9), 9])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "MPO", "TIFF"])
def test_orientation_is_applied_as_opencv_does(tmp_path: Path, form: str, orientation: int) -> None:
    picture = np.zeros((24, 32, 3), np.uint8)
    picture[:8, :16], picture[8:] = (255, 0, 0), (0, 90, 0)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    path = tmp_path / "frame.jpg"
    Image.fromarray(picture).save(path, form, exif=exif)
    read = read_image(path)
    turned = orientation in (5, 6, 7, 8)
    assert (
        image_size(path) == decoded_header(path)[0] == read.shape[1::-1] == ((24, 32) if turned else (32, 24))
    )
    if form == "TIFF":
        return  # OpenCV reads half of them, and those that it reads as here
    assert image_header(path)[1] == (orientation if 1 <= orientation <= 8 else 1)
    assert np.abs(read.astype(int) - cv2.imread(str(path))[..., ::-1]).max() < 4


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 8
    path = tmp_path / "frame.png"
    Image.new("RGB", (32, 24)).save(path, exif=exif)
    data = path.read_bytes()
    start, end = data.index(b"eXIf") - 4, data.index(b"IDAT") - 4
    path.write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
    assert image_size(path) == cv2.imread(str(path)).shape[1::-1] == (24, 32)
    path.write_bytes(data[:start] + data[end:-12] + b"\0\0\0\4tEXteXIf" + data[-12:])
    assert image_size(path) == (32, 24)


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # pytest sets the project's filters aside
def test_damaged_exif_is_passed_over(tmp_path: Path, exif: bytes) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "frame.jpg", exif=exif)
    assert image_size(tmp_path / "frame.jpg") == read_image(tmp_path / "frame.jpg").shape[1::-1] == (32, 24)


@pytest.mark.parametrize("mode", ["CMYK", "L", "LA", "RGBA", "P", "1"])
def test_pixels_of_any_kind_are_those_of_opencv(tmp_path: Path, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 4, 4), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    image = Image.fromarray(noise) if mode == "RGBA" else Image.fromarray(noise[..., :3])
    path = tmp_path / ("frame.jpg" if mode == "CMYK" else "frame.png")
    (image.quantize(16) if mode == "P" else image.convert(mode)).save(path)
    assert np.abs(read_image(path).astype(int) - cv2.imread(str(path))[..., ::-1]).max() <= 1


def test_thirty_two_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "depth.tif")
    with pytest.raises(UserError, match=r"depth\.tif: frame cannot be read \(32 bits a pixel"):
        read_image(tmp_path / "depth.tif")


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
    for read in (image_size, decoded_header, read_image):
        try:
            read(path)
        except UserError as fault:
            assert str(fault).startswith(f"{path}: frame cannot be read (") and "\n" not in str(fault)
