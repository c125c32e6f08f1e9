"""Image files: their pixels and their sizes, upright as they are shown (`data_prep.video.images`).

What is read agrees with `cv2.imread`, by which the VOT toolkit and most trackers read.


How a stored picture is turned or mirrored before it is shown: EXIF of images, display matrix of videos.

Cameras store what their sensor gives and note how to hold it. OpenCV applies the note, and with it the VOT
toolkit, pytracking and most annotation tools, so boxes and masks of data sets are those of the upright
picture. Every reader of frames in this project applies it too, to pixels and to sizes.

An orientation is a number of EXIF, from 1 (shown as stored) to 8; from 5 on width and height change places.

What `cv2.imread` does with it, found by trying OpenCV 5.0:
- JPEG, MPO, PNG (chunk eXIf, before or after the pixels) and WebP: applied, all eight.
- TIFF: applied by libtiff up to 4, and by Pillow all eight; of 5 to 8 OpenCV reads no picture at all.
- AVIF, JPEG 2000, and notes in XMP or in ImageMagick's text chunk "Raw profile": passed over.
- A number out of range is passed over.

What `cv2.VideoCapture` does with a display matrix: it turns by 90, 180 or 270 degrees, and takes a mirrored
picture for a turned one. Players mirror it, and so do we.
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

UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises for a file
# An image of a size that Pillow warns of and does not refuse is read like any other.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_image(path: Path) -> np.ndarray:
    """Decode one image file to RGB, uint8, (height, width, 3), upright, as `cv2.imread` gives it.

    Raises UserError where it cannot be read.
    """
    with opened_image(path) as image:
        return upright(rgb_of(image), exif_orientation(image))


def rgb_of(image: Image.Image) -> np.ndarray:
    """The pixels of an opened image as RGB, uint8, (height, width, 3), as they are stored.

    Of 16 bits the high eight are taken, as by OpenCV; Pillow alone would make all but the darkest white.
    Alpha is dropped, as by OpenCV. Raises ValueError for 32 bits a pixel, whose range nobody tells.
    """
    if image.mode.startswith("I;16"):
        return np.repeat((np.array(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel; save it with 8 or 16")
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same pixels, without Pillow's warning
    return np.array(image.convert("RGB"))  # a copy: torch wants to own its arrays


def image_size(path: Path) -> Size:
    """Width and height of an image file, upright, from its header alone: about 50 microseconds.

    Raises UserError where the file is missing or is no image.
    """
    return image_header(path)[0]


def image_header(path: Path) -> tuple[Size, int]:
    """Width and height of an image file, upright, and how its pixels are stored (`data_prep.video.images`).

    Only the header is read. Raises UserError as `image_size` does.
    """
    with opened_image(path) as image:
        orientation = exif_orientation(image)
        return upright_size(image.size, orientation), orientation


def decoded_header(path: Path) -> tuple[Size, int]:
    """As `image_header`, of a file that is decoded whole: what is cut off is found only so.

    A quarter of the cost of `read_image`, since nothing is copied. Raises UserError as that does.
    """
    with opened_image(path) as image:
        image.load()
        orientation = exif_orientation(image)
        return upright_size(image.size, orientation), orientation


@contextmanager
def opened_image(path: Path, formats: tuple[str, ...] | None = None) -> Iterator[Image.Image]:
    """Open an image file of these formats of Pillow (None: any).

    What fails while it is open becomes a UserError that names the file.
    """
    try:
        check_regular(path)
        with Image.open(path, formats=formats) as image:
            yield image
    except FileNotFoundError:
        raise UserError(f"{path}: frame is missing; restore it or correct the sequence") from None
    except UNREADABLE as fault:
        raise UserError(f"{path}: frame cannot be read ({_reason(fault)}); replace the file") from None


def _reason(fault: Exception) -> str:
    """What an exception says, without the path that it repeats."""
    if isinstance(fault, UnidentifiedImageError):
        return "no image of a known form"
    return (fault.strerror if isinstance(fault, OSError) else None) or str(fault)


AS_STORED = 1
ORIENTATION_TAG = 0x0112
EXIF_FORMATS = ("JPEG", "MPO", "PNG", "WEBP")
PNG_TAIL = 1 << 12  # bytes at the end of a PNG in which an eXIf chunk behind the pixels is looked for

# A display matrix (a b; c d) takes a stored point (x, y) to (a x + c y, b x + d y).
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
SKEW = 0.01  # share of the largest number of a matrix that counts as zero

# Pillow warns of damaged EXIF, also of tags that nobody asks for.
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """The picture as it is shown, from one as it is stored: any array (height, width, ...)."""
    if orientation == AS_STORED:
        return image
    if orientation >= 5:  # 1. rows become columns
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):  # 2. the last row comes first
        image = image[::-1]
    if orientation in (2, 3, 6, 7):  # 3. the last column comes first
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def upright_size(size: Size, orientation: int) -> Size:
    """Width and height of the picture as it is shown."""
    return (size[1], size[0]) if orientation >= 5 else size


def exif_orientation(image: Image.Image) -> int:
    """The orientation of an image that Pillow opened, from its header alone.

    Damaged EXIF is passed over, as by OpenCV. Pillow itself applies that of TIFF.
    """
    if image.format not in EXIF_FORMATS:
        return AS_STORED
    if image.format == "PNG" and "exif" not in image.info and _exif_is_behind(image):
        image.load()
    data = image.info.get("exif")
    if not data:
        return AS_STORED
    exif = Image.Exif()
    try:
        exif.load(data)
        found = exif.get(ORIENTATION_TAG)
    except Exception:  # the parser raises whatever a damaged value leads to
        return AS_STORED
    return found if isinstance(found, int) and 1 <= found <= 8 else AS_STORED


def _exif_is_behind(image: Image.Image) -> bool:
    """Whether the end of a PNG file may hold EXIF: only then is it decoded to read its last chunks."""
    file = image.fp if isinstance(image, ImageFile) else None
    if file is None:  # decoded already, and with it all chunks are known
        return False
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(max(place, size - PNG_TAIL))
    tail = file.read()
    file.seek(place)
    return b"eXIf" in tail


def matrix_orientation(frame: av.VideoFrame) -> int:
    """The orientation of a decoded frame by its display matrix; one that is skewed counts as none."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, Buffer):
        return AS_STORED
    matrix = np.frombuffer(bytes(data), np.int32)[[0, 1, 3, 4]].astype(np.float64)
    a, b, c, d = (int(sign) for sign in np.sign(matrix) * (abs(matrix) > SKEW * abs(matrix).max()))
    return MATRICES.get((a, b, c, d), AS_STORED)
