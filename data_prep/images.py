"""Image files: their pixels and their sizes, upright as they are shown (`data_prep.orientation`).

What is read agrees with `cv2.imread`, by which the VOT toolkit and most trackers read.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from configs.errors import UserError
from data_prep.files import check_regular
from data_prep.geometry import Size
from data_prep.orientation import exif_orientation, upright, upright_size

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
    """Width and height of an image file, upright, and how its pixels are stored (`data_prep.orientation`).

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
