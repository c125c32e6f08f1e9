"""Pools of rendered frames: resized images, with annotations of every object.

Rendering a frame takes as long as a training step on it. So all cores render a pool once, into Arrow files
that are mapped into memory, and every epoch asks other questions about its frames.
"""

import dataclasses
import hashlib
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from data_prep.contract.contract import Contract
from data_prep.contract.crops import crop_template
from data_prep.contract.images import resize
from data_prep.files import whole_file
from data_prep.geometry import Box, Size, box_of_mask, jittered, rescale
from data_prep.parallel import in_processes
from data_prep.world.arrangement import Shown
from data_prep.world.draw import draw_frame
from data_prep.world.expressions import refer
from data_prep.world.film import SLIVER, seen
from data_prep.world.phrases import Expression
from data_prep.world.presets import PRESETS, WorldPreset
from data_prep.world.scene import Scene, make_scene

CLEAR_SHARE = 0.42  # of an object's squared radius: objects that show less are neither visible nor absent
# The same in crops, which show more of an object's details.
CLEAR_SHARE_OF_CROPS = 0.2
# Crops: the side of the window in sides of the object in it, its smallest side as a share of the largest
# possible one, and the standard deviation of the object's place, as a share of the window.
CROP_SCALES, SMALLEST_CROP, CROP_SHIFT = (1.3, 6.0), 0.2, 0.12
ANYWHERE_SHARE = 0.15  # share of crops around no object
PARTIAL_SHARE = 0.5  # objects that show less than this share of what another frame shows are partly hidden
PARTIAL_WEIGHT = 3.0  # how many times as likely partly hidden objects are in the middle of a crop
# Shares of a token's area: from the first on it belongs to an object, below the second to none.
OWNED_SHARE, FREE_SHARE = 0.25, 0.06
NO_OBJECT, AMBIGUOUS = -1, -2
PHRASES = 4  # expressions for each object
QUALITY = (60, 96)  # range of the JPEG quality, as in rendered videos
CHUNK = 250  # frames of a file
LOG_EVERY = 30.0  # seconds between log lines while a pool is rendered
log = logging.getLogger(__name__)
SCHEMA = pa.schema([("picture", pa.binary()), ("templates", pa.binary()), ("facts", pa.string())])


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
    largest = min(width, height * aspect)
    # 1. The object in the middle, and how large the window is. Without one, a random place and size.
    boxes = [None if seen(mask) is None else box_of_mask(mask) for mask in masks]
    shown = [index for index, box in enumerate(boxes) if box is not None]
    if not shown or rng.random() < ANYWHERE_SHARE:
        x, y = rng.uniform((0, 0), (width, height))
        wide = largest * rng.uniform(SMALLEST_CROP, 1)
    else:
        is_partial = np.array([masks[i].sum() < PARTIAL_SHARE * other_masks[i].sum() for i in shown])
        weights = np.where(is_partial, PARTIAL_WEIGHT, 1.0)
        box = boxes[shown[int(rng.choice(len(shown), p=weights / weights.sum()))]]
        assert box is not None
        scale = math.exp(rng.uniform(*np.log(CROP_SCALES)))
        wide = max((box[2] - box[0]) * scale, (box[3] - box[1]) * scale * aspect, SMALLEST_CROP * largest)
        wide = min(wide, largest)
        x, y = (
            (box[axis] + box[axis + 2]) / 2 + rng.normal(0, CROP_SHIFT) * side
            for axis, side in enumerate((wide, wide / aspect))
        )
    # 2. The window, moved into the frame.
    columns, rows = max(2, round(wide)), max(2, round(wide / aspect))
    left = round(min(max(0, x - columns / 2), width - columns))
    top = round(min(max(0, y - rows / 2), height - rows))
    window = slice(top, top + rows), slice(left, left + columns)
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


def _template_side(contract: Contract) -> int:
    return round(contract.template_pixels**0.5)


def _strip(templates: list[np.ndarray | None], contract: Contract) -> np.ndarray:
    """All templates side by side in one image; grey for objects without one."""
    side = _template_side(contract)
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
    side, strip = _template_side(contract), _picture(row["templates"])
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


# ---- pools ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PoolSpec:
    """What the frames of a pool depend on; `size` is the (width, height) to which they are resized.

    `crop`: they are parts of frames.
    """

    preset: str
    contract: Contract
    size: Size
    crop: bool = False

    @property
    def name(self) -> str:
        """The name of the pool's folder. It ends with a hash of the settings, since runs share their pools.

        A pool of other settings is in another folder.
        """
        width, height = self.size
        contract = self.contract.template_scale, self.contract.template_pixels, self.contract.side_multiple
        frame = CLEAR_SHARE, OWNED_SHARE, FREE_SHARE, PHRASES, QUALITY
        crop: tuple[Any, ...] = ()
        if self.crop:
            crop = CLEAR_SHARE_OF_CROPS, CROP_SCALES, SMALLEST_CROP, CROP_SHIFT
            crop += ANYWHERE_SHARE, PARTIAL_SHARE, PARTIAL_WEIGHT
        # More words change the expressions; pools with basic words keep their names.
        words = PRESETS[self.preset].words
        extra = crop if words == "basic" else (*crop, words)
        # Not `hash`, whose values for texts differ between processes.
        settings = hashlib.sha256(repr((PRESETS[self.preset], contract, frame, CHUNK, *extra)).encode())
        kind = "-crops" if self.crop else ""
        side = _template_side(self.contract)
        return f"{self.preset}{kind}-{width}x{height}-{side}-{settings.hexdigest()[:8]}"


def open_pool(folder: Path, spec: PoolSpec, first: int, count: int, workers: int = 1) -> "FramePool":
    """Frames `first`, `first + 1`, … of a preset; those that `folder` does not hold yet are rendered.

    A file holds `CHUNK` frames and is written completely or not at all.
    """
    # Whole files are rendered, from the one that holds frame `first` on.
    # Files begin at multiples of CHUNK whatever `first` is, so that runs with other ranges share them.
    starts = range(first - first % CHUNK, first + count, CHUNK)
    paths = [folder / spec.name / f"{start:010d}.arrow" for start in starts]
    chunks = zip(paths, (range(start, start + CHUNK) for start in starts), strict=True)
    missing = [(path, seeds) for path, seeds in chunks if not path.is_file()]
    if missing:
        (folder / spec.name).mkdir(parents=True, exist_ok=True)
        log.info("rendering %d frames of %s into %s", len(missing) * CHUNK, spec.preset, folder / spec.name)
        _render(spec, missing, workers)
    return FramePool(paths, first % CHUNK, count, spec.contract)


def _render(spec: PoolSpec, missing: Sequence[tuple[Path, range]], workers: int) -> None:
    """Render files of a pool, and log the progress."""
    started = logged = time.monotonic()
    for done, _ in enumerate(in_processes(partial(_render_chunk, spec), missing, workers), start=1):
        now = time.monotonic()
        if now - logged >= LOG_EVERY or done == len(missing):
            left = (now - started) / done * (len(missing) - done) / 60
            log.info("rendered %d of %d frames  %.0f min left", done * CHUNK, len(missing) * CHUNK, left)
            logged = now


def _render_chunk(spec: PoolSpec, chunk: tuple[Path, range]) -> Path:
    """Render one file of a pool: the frames of some seeds."""
    path, seeds = chunk
    preset = PRESETS[spec.preset]
    rows = [render_frame(seed, preset, spec.contract, spec.size, spec.crop) for seed in seeds]
    with (
        whole_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
    ):
        writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
    return path


class FramePool:
    """`count` rendered frames in memory-mapped files, from frame `skip` of the first file on."""

    def __init__(self, paths: Sequence[Path], skip: int, count: int, contract: Contract) -> None:
        self.contract, self._skip, self._count = contract, skip, count
        # `read_all` copies nothing from a memory map: a page is read when a frame on it is needed.
        self._tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in paths]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> AnnotatedFrame:
        # IndexError ends a `for` loop over the pool, which has no `__iter__`.
        if not 0 <= index < self._count:
            raise IndexError(index)
        chunk, row = divmod(index + self._skip, CHUNK)
        table = self._tables[chunk]
        return read_frame({name: table[name][row] for name in SCHEMA.names}, self.contract)
