"""Image files: their pixels and their sizes, upright as they are shown.

Pixels agree with those of `cv2.imread`, which the VOT toolkit and most trackers use.


Orientation. Cameras store the image as their sensor records it, together with the rotation to show it with:
in EXIF for images, as a display matrix for videos. OpenCV applies it, and so do the VOT toolkit, pytracking
and most annotation tools. The boxes and masks of data sets therefore belong to the upright image, and every
reader of frames in this project applies the orientation to pixels and sizes.

An orientation is a number of EXIF, from 1 (shown as stored) to 8. From 5 on width and height are swapped.

What `cv2.imread` does with it (tested with OpenCV 5.0):
- JPEG, MPO, PNG (chunk eXIf, before or after the pixels) and WebP: applied, all eight.
- TIFF: libtiff applies 1 to 4, and Pillow all eight; OpenCV does not read files with 5 to 8 at all.
- AVIF, JPEG 2000, and orientations in XMP or in ImageMagick's text chunk "Raw profile": ignored.
- A number out of range is ignored.

What `cv2.VideoCapture` does with a display matrix: it rotates by 90, 180 or 270 degrees, and treats a
mirrored image as a rotated one. Video players mirror it, and so does this module.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.buffer import Buffer
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from configs.errors import UserError
from data_prep.files import check_regular
from data_prep.geometry import Size

UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
)  # raised by Pillow for a broken file
# Pillow warns of large images and refuses larger ones. Those of the first kind are read like any other.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_image(path: Path) -> np.ndarray:
    """Decode one image file to RGB, uint8, (height, width, 3), upright, as `cv2.imread` gives it.

    Raises UserError where it cannot be read.
    """
    # Pixels are decoded as stored and rotated afterwards.
    with opened_image(path) as image:
        return upright(rgb_of(image), exif_orientation(image))


def rgb_of(image: Image.Image) -> np.ndarray:
    """The pixels of an opened image as RGB, uint8, (height, width, 3), as they are stored.

    Of 16 bits the upper eight are used, as by OpenCV; Pillow alone would make all but the darkest pixels
    white. Alpha is dropped, as by OpenCV. Raises ValueError for 32 bits per pixel, whose range is not
    defined.
    """
    # 16 bits per pixel, grey.
    if image.mode.startswith("I;16"):
        return np.repeat((np.array(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel; save it with 8 or 16")
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same pixels, but without a warning of Pillow
    return np.array(image.convert("RGB"))  # a copy, since torch needs a writable array


def image_size(path: Path) -> Size:
    """Width and height of an image file, upright, from its header alone: about 50 microseconds.

    Raises UserError where the file is missing or is no image.
    """
    return image_header(path)[0]


def image_header(path: Path) -> tuple[Size, int]:
    """Width and height of an image file, upright, and its orientation.

    Only the header is read. Raises UserError as `image_size` does.
    """
    with opened_image(path) as image:
        orientation = exif_orientation(image)
        return upright_size(image.size, orientation), orientation


def decoded_header(path: Path) -> tuple[Size, int]:
    """As `image_header`, but the whole file is decoded, which is the only way to find a truncated one.

    This costs a quarter of `read_image`, because no pixels are copied. Raises UserError as that does.
    """
    with opened_image(path) as image:
        image.load()
        orientation = exif_orientation(image)
        return upright_size(image.size, orientation), orientation


@contextmanager
def opened_image(path: Path, formats: tuple[str, ...] | None = None) -> Iterator[Image.Image]:
    """Open an image file of these formats of Pillow (None: any).

    An error while it is open becomes a UserError that names the file.
    """
    try:
        # Opening a pipe would wait forever.
        check_regular(path)
        with Image.open(path, formats=formats) as image:
            yield image
    except FileNotFoundError:
        raise UserError(f"{path}: frame is missing; restore it or correct the sequence") from None
    except UNREADABLE as fault:
        raise UserError(f"{path}: frame cannot be read ({_reason(fault)}); replace the file") from None


def _reason(fault: Exception) -> str:
    """The message of an exception, without the path that it repeats."""
    if isinstance(fault, UnidentifiedImageError):
        return "no image of a known form"
    return (fault.strerror if isinstance(fault, OSError) else None) or str(fault)


AS_STORED = 1
ORIENTATION_TAG = 0x0112
EXIF_FORMATS = ("JPEG", "MPO", "PNG", "WEBP")
PNG_TAIL = 1 << 12  # bytes at the end of a PNG that are searched for an eXIf chunk after the pixels

# Orientations by display matrix: (a b; c d) maps a stored point (x, y) to (a x + c y, b x + d y).
MATRICES = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
SKEW = 0.01  # smaller entries of a matrix, as a share of its largest, count as zero

# Pillow warns of damaged EXIF, even in tags that are not read here.
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """The image as it is shown, from the image as it is stored: any array (height, width, ...)."""
    if orientation == AS_STORED:
        return image
    # The eight orientations are combinations of three steps, in this order.
    if orientation >= 5:  # 1. rows become columns
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):  # 2. the last row comes first
        image = image[::-1]
    if orientation in (2, 3, 6, 7):  # 3. the last column comes first
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def upright_size(size: Size, orientation: int) -> Size:
    """Width and height of the image as it is shown, from those of the stored image."""
    return (size[1], size[0]) if orientation >= 5 else size


def exif_orientation(image: Image.Image) -> int:
    """The orientation of an image that Pillow opened, from its header alone.

    Damaged EXIF is ignored, as by OpenCV. Pillow itself applies the orientation of TIFF.
    """
    if image.format not in EXIF_FORMATS:
        return AS_STORED
    # Pillow knows the chunks of a PNG after the pixels only once these are decoded.
    if image.format == "PNG" and "exif" not in image.info and _exif_is_behind(image):
        image.load()
    data = image.info.get("exif")
    if not data:
        return AS_STORED
    # `Image.getexif` would also look into XMP, which OpenCV ignores, so the EXIF data are parsed here.
    exif = Image.Exif()
    try:
        exif.load(data)
        found = exif.get(ORIENTATION_TAG)
    except Exception:  # a damaged value may make the parser raise anything
        return AS_STORED
    return found if isinstance(found, int) and 1 <= found <= 8 else AS_STORED


def _exif_is_behind(image: Image.Image) -> bool:
    """Whether the end of a PNG file may hold EXIF.

    Pillow reads chunks after the pixels only when it decodes them, which is done for these files alone.
    """
    file = image.fp if isinstance(image, ImageFile) else None
    if file is None:  # decoded already, so all chunks have been read
        return False
    # The position in the file belongs to Pillow and must be restored.
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(max(place, size - PNG_TAIL))
    tail = file.read()
    file.seek(place)
    return b"eXIf" in tail


def matrix_orientation(frame: av.VideoFrame) -> int:
    """The orientation of a decoded frame by its display matrix; a skewed matrix is ignored."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, Buffer):
        return AS_STORED
    # The matrix is 3 by 3 in fixed point; the entries 0, 1, 3 and 4 are its rotation.
    matrix = np.frombuffer(bytes(data), np.int32)[[0, 1, 3, 4]].astype(np.float64)
    # Only the signs matter, after entries that are nearly zero have been set to zero.
    a, b, c, d = (int(sign) for sign in np.sign(matrix) * (abs(matrix) > SKEW * abs(matrix).max()))
    return MATRICES.get((a, b, c, d), AS_STORED)
