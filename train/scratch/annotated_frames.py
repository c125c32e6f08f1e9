"""Rendered frames to train on: resized images or crops of them, with annotations of every object."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from data_prep.contract.contract import Contract
from data_prep.contract.crops import crop_template
from data_prep.contract.images import resize
from data_prep.contract.windows import window_at
from data_prep.geometry import Box, Size, box_of_mask, jittered, rescale
from data_prep.world.arrangement import Shown
from data_prep.world.draw import draw_frame
from data_prep.world.expressions import refer
from data_prep.world.film import SLIVER, seen
from data_prep.world.phrases import Expression
from data_prep.world.presets import WorldPreset
from data_prep.world.scene import Scene, make_scene
from train.scratch.crop_windows import CropRule, largest_width, window_around, window_size

CLEAR_SHARE = 0.42  # of an object's squared radius: objects that show less are neither visible nor absent
# The same in crops, which show more of an object's details.
CLEAR_SHARE_OF_CROPS = 0.2
CROPS = CropRule(scales=(1.3, 6.0), smallest=0.2, shift=0.12)
ANYWHERE_SHARE = 0.15  # share of crops around no object
PARTIAL_SHARE = 0.5  # objects that show less than this share of what another frame shows are partly hidden
PARTIAL_WEIGHT = 3.0  # how many times as likely partly hidden objects are in the middle of a crop
# Shares of a token's area: from the first on it belongs to an object, below the second to none.
OWNED_SHARE, FREE_SHARE = 0.25, 0.06
NO_OBJECT, AMBIGUOUS = -1, -2
PHRASES = 4  # expressions for each object
QUALITY = (60, 96)  # range of the JPEG quality, as in rendered videos
SCHEMA = pa.schema([("picture", pa.binary()), ("templates", pa.binary()), ("facts", pa.string())])
"""The columns of a pool's files: two JPEG images, and JSON."""


def rendering_settings(crop: bool) -> tuple[Any, ...]:
    """What frames depend on beside the preset and the contract: values that a pool's name must contain."""
    settings: tuple[Any, ...] = ((CLEAR_SHARE, OWNED_SHARE, FREE_SHARE, PHRASES, QUALITY),)
    if crop:
        settings += CLEAR_SHARE_OF_CROPS, *dataclasses.astuple(CROPS)
        settings += ANYWHERE_SHARE, PARTIAL_SHARE, PARTIAL_WEIGHT
    return settings


@dataclass(frozen=True)
class FrameObject:
    """An object of a frame; `box_resized` is the box of its visible part, in pixels of the frame's image.

    `clear` objects are visible, those without a box are absent, and the others are too ambiguous to be asked
    about. `phrases` are expressions that refer to the object, `has_template` says whether there is a crop of
    it.
    """

    colour: str
    shape: str
    box_resized: Box | None
    clear: bool
    has_template: bool
    phrases: tuple[Expression, ...]
    pattern: str = ""  # empty in pools that do not hold it


@dataclass(frozen=True, eq=False)
class AnnotatedFrame:
    """A frame, resized as the contract says: RGB uint8 (height, width, 3).

    `owner`, int8 (rows, columns), holds for each image token the index of the object that covers most of it,
    NO_OBJECT or AMBIGUOUS. `templates` are crops of the objects from another frame.
    """

    image: np.ndarray
    things: tuple[FrameObject, ...]
    owner: np.ndarray
    templates: tuple[np.ndarray | None, ...]


def render_frame(
    seed: int, preset: WorldPreset, contract: Contract, size: Size, crop: bool = False
) -> dict[str, Any]:
    """Render the frame that follows from `seed` (an offset into the preset's seeds), as a row of a pool.

    `crop`: only a part of the frame, in full resolution, mostly around one of its objects.
    """
    # 1. A frame of the scene, at a random time.
    scene = make_scene(preset.first_seed + seed, preset)
    rng = np.random.default_rng((preset.first_seed + seed, 2))
    t = int(rng.integers(scene.frames))
    image, masks = draw_frame(scene, t)
    # 2. Templates from another frame, the crop, and annotations of every object.
    templates, other_masks = _templates(rng, scene, contract)
    clear_share = CLEAR_SHARE
    if crop:
        rng = np.random.default_rng((preset.first_seed + seed, 5))
        image, masks = _crop(rng, image, masks, other_masks, size)
        clear_share = CLEAR_SHARE_OF_CROPS
    boxes = [_seen_box(mask, size) for mask in masks]
    frame = Shown(t, tuple(box is not None for box in boxes))
    things = [
        FrameObject(
            colour=thing.colour,
            shape=thing.shape,
            box_resized=box,
            clear=int(mask.sum()) >= max(SLIVER, clear_share * thing.radius**2),
            has_template=template is not None,
            phrases=tuple(refer(rng, scene, index, frame) for _ in range(PHRASES)),
            pattern=thing.pattern,
        )
        for index, (thing, mask, box, template) in enumerate(
            zip(scene.things, masks, boxes, templates, strict=True)
        )
    ]
    facts = {
        "things": [dataclasses.asdict(thing) for thing in things],
        "owner": _owner(masks, size, contract.side_multiple).tolist(),
    }
    # 3. JPEG of random quality: the model must not depend on the artefacts of one.
    return {
        "picture": _jpeg(resize(image, size), int(rng.integers(*QUALITY))),
        "templates": _jpeg(_strip(templates, contract), int(rng.integers(*QUALITY))),
        "facts": json.dumps(facts),
    }


def _seen_box(mask: np.ndarray, size: Size) -> Box | None:
    """The box of the visible part of an object, in pixels of the resized image; None for a sliver."""
    shown = seen(mask)
    box = None if shown is None else box_of_mask(shown)
    return None if box is None else rescale(box, (mask.shape[1], mask.shape[0]), size)


def _crop(
    rng: np.random.Generator,
    image: np.ndarray,
    masks: list[np.ndarray],
    other_masks: list[np.ndarray],
    size: Size,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A part of a frame and of its masks, with the aspect of `size`, as a second look sees it.

    It is mostly around an object. Those that are partly hidden, by the masks of another frame, are preferred.
    """
    height, width = image.shape[:2]
    aspect = size[0] / size[1]
    # 1. The object in the middle. Without one, a random place and size.
    boxes = [None if seen(mask) is None else box_of_mask(mask) for mask in masks]
    shown = [index for index, box in enumerate(boxes) if box is not None]
    if not shown or rng.random() < ANYWHERE_SHARE:
        x, y = rng.uniform((0, 0), (width, height))
        wide = largest_width((width, height), aspect) * rng.uniform(CROPS.smallest, 1)
        left, top, right, bottom = window_at((x, y), window_size(wide, aspect), (width, height))
    else:
        is_partial = np.array([masks[i].sum() < PARTIAL_SHARE * other_masks[i].sum() for i in shown])
        weights = np.where(is_partial, PARTIAL_WEIGHT, 1.0)
        box = boxes[shown[int(rng.choice(len(shown), p=weights / weights.sum()))]]
        assert box is not None
        left, top, right, bottom = window_around(rng, box, (width, height), aspect, CROPS)
    # 2. The part of the frame in the window.
    window = slice(top, bottom), slice(left, right)
    return np.ascontiguousarray(image[window]), [mask[window] for mask in masks]


def _templates(
    rng: np.random.Generator, scene: Scene, contract: Contract
) -> tuple[list[np.ndarray | None], list[np.ndarray]]:
    """A crop of each object that another frame shows clearly, with a jittered box as a tracker has it.

    The second value is the masks of that frame.
    """
    image, masks = draw_frame(scene, int(rng.integers(scene.frames)))
    crops: list[np.ndarray | None] = []
    for thing, mask in zip(scene.things, masks, strict=True):
        box = box_of_mask(mask) if int(mask.sum()) >= CLEAR_SHARE * thing.radius**2 else None
        crops.append(None if box is None else crop_template(image, jittered(rng, box, 0.1), contract))
    return crops, masks


def _owner(masks: list[np.ndarray], size: Size, side: int) -> np.ndarray:
    """The object that covers most of each token of `side` by `side` pixels, int8 (rows, columns)."""
    grid = size[0] // side, size[1] // side
    # The mean of a mask over a token's area is the share that the object covers.
    # The result is (objects, rows, columns); sizes of OpenCV are (width, height), as `grid` is.
    shares = np.stack(
        [cv2.resize(mask.astype(np.float32), grid, interpolation=cv2.INTER_AREA) for mask in masks]
    )
    best, most = shares.argmax(0), shares.max(0)
    unowned = np.where(most < FREE_SHARE, NO_OBJECT, AMBIGUOUS)
    return np.where(most >= OWNED_SHARE, best, unowned).astype(np.int8)


def template_side(contract: Contract) -> int:
    """The side of a template's square in pixels."""
    return round(contract.template_pixels**0.5)


def _strip(templates: list[np.ndarray | None], contract: Contract) -> np.ndarray:
    """All templates side by side in one image; grey for objects without one."""
    side = template_side(contract)
    # Equal squares need no table of offsets: the template of object i begins at column i * side.
    strip = np.full((side, side * len(templates), 3), 128, np.uint8)
    for index, template in enumerate(templates):
        if template is not None:
            strip[:, index * side : (index + 1) * side] = resize(template, (side, side))
    return strip


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    # RGB -> BGR, the order of OpenCV.
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "encoding to memory does not fail"
    return data.tobytes()


def _picture(data: pa.Scalar) -> np.ndarray:
    # Decoded from the mapped memory, without a copy of the compressed image.
    buffer = np.frombuffer(data.as_buffer(), np.uint8)
    picture = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
    assert picture is not None, "files of a pool are written completely or not at all"
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def read_frame(row: dict[str, pa.Scalar], contract: Contract) -> AnnotatedFrame:
    """The frame of a row of a pool."""
    facts = json.loads(row["facts"].as_py())
    things = tuple(_thing(values) for values in facts["things"])
    side, strip = template_side(contract), _picture(row["templates"])
    # A range of columns is not contiguous in memory. Its copy is, and does not keep the strip alive.
    templates = tuple(
        np.ascontiguousarray(strip[:, index * side : (index + 1) * side]) if thing.has_template else None
        for index, thing in enumerate(things)
    )
    return AnnotatedFrame(_picture(row["picture"]), things, np.array(facts["owner"], np.int8), templates)


def _thing(values: dict[str, Any]) -> FrameObject:
    box, phrases = values.pop("box_resized"), values.pop("phrases")
    return FrameObject(
        **values,
        box_resized=None if box is None else tuple(box),
        phrases=tuple(Expression(**phrase) for phrase in phrases),
    )
