"""Shots: frames of the rendered world as the grounder sees them, with everything that may be asked of them.

Drawing a frame costs as much as learning from it, so a pool of shots is drawn once, by all cores,
into Arrow files that are mapped into memory; training reads its pictures again and again and asks
something else each time.
"""

import dataclasses
import hashlib
import json
import logging
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
from data_prep.contract.images import crop_template, resize
from data_prep.files import whole_file
from data_prep.geometry import Box, Size, box_of_mask, jittered, rescale
from data_prep.parallel import in_processes
from data_prep.world.draw import draw_frame
from data_prep.world.expressions import Expression, refer
from data_prep.world.film import SLIVER, seen
from data_prep.world.presets import PRESETS, WorldPreset
from data_prep.world.scene import Scene, make_scene

CLEAR_SHARE = 0.42  # of the squared radius: less of a thing is neither surely visible nor surely absent
OWNED_SHARE, FREE_SHARE = 0.25, 0.06  # of a token: from here a thing's, below here nobody's
NO_OBJECT, AMBIGUOUS = -1, -2
PHRASES = 4  # texts drawn for each thing
QUALITY = (60, 96)  # of JPEG, as of the written videos
CHUNK = 250  # shots a file holds
TELL_EVERY = 30.0  # seconds between lines while a pool is drawn
log = logging.getLogger(__name__)
SCHEMA = pa.schema([("picture", pa.binary()), ("templates", pa.binary()), ("facts", pa.string())])


@dataclass(frozen=True)
class FrameObject:
    """A thing of a shot; `box_resized` is what can be seen of it, in pixels of the shot's image.

    `clear`: enough can be seen to call it visible. Without a box it is absent; between the two nobody
    can tell. `phrases` are ways to refer to it, `has_template` says that the shot has a crop of it.
    """

    colour: str
    shape: str
    box_resized: Box | None
    clear: bool
    has_template: bool
    phrases: tuple[Expression, ...]


@dataclass(frozen=True, eq=False)
class AnnotatedFrame:
    """One frame, resized as the contract says: RGB uint8 (height, width, 3).

    `owner` int8 (rows, columns): for every token of the image the index of the thing that fills it
    best, `NO_OBJECT` or `AMBIGUOUS`. `templates` are crops from another frame.
    """

    image: np.ndarray
    things: tuple[FrameObject, ...]
    owner: np.ndarray
    templates: tuple[np.ndarray | None, ...]


def render_frame(seed: int, preset: WorldPreset, contract: Contract, size: Size) -> dict[str, Any]:
    """Draw the shot that follows from `seed` (an offset into the preset's seeds), as a row of a pool."""
    scene = make_scene(preset.first_seed + seed, preset)
    rng = np.random.default_rng((preset.first_seed + seed, 2))
    image, masks = draw_frame(scene, int(rng.integers(scene.frames)))
    templates = _templates(rng, scene, contract)
    things = [
        FrameObject(
            colour=thing.colour,
            shape=thing.shape,
            box_resized=_seen_box(mask, size),
            clear=int(mask.sum()) >= max(SLIVER, CLEAR_SHARE * thing.radius**2),
            has_template=template is not None,
            phrases=tuple(refer(rng, scene, index) for _ in range(PHRASES)),
        )
        for index, (thing, mask, template) in enumerate(zip(scene.things, masks, templates, strict=True))
    ]
    facts = {
        "things": [dataclasses.asdict(thing) for thing in things],
        "owner": _owner(masks, size, contract.side_multiple).tolist(),
    }
    return {
        "picture": _jpeg(resize(image, size), int(rng.integers(*QUALITY))),
        "templates": _jpeg(_strip(templates, contract), int(rng.integers(*QUALITY))),
        "facts": json.dumps(facts),
    }


def _seen_box(mask: np.ndarray, size: Size) -> Box | None:
    """The box of what is seen of a thing, in pixels of the resized image; None for a sliver."""
    shown = seen(mask)
    box = None if shown is None else box_of_mask(shown)
    return None if box is None else rescale(box, (mask.shape[1], mask.shape[0]), size)


def _templates(rng: np.random.Generator, scene: Scene, contract: Contract) -> list[np.ndarray | None]:
    """A crop of each thing that another frame shows clearly, as inexact as a tracker's."""
    image, masks = draw_frame(scene, int(rng.integers(scene.frames)))
    crops: list[np.ndarray | None] = []
    for thing, mask in zip(scene.things, masks, strict=True):
        box = box_of_mask(mask) if int(mask.sum()) >= CLEAR_SHARE * thing.radius**2 else None
        crops.append(None if box is None else crop_template(image, jittered(rng, box, 0.1), contract))
    return crops


def _owner(masks: list[np.ndarray], size: Size, side: int) -> np.ndarray:
    """Which thing fills each token of `side` by `side` pixels best, int8 (rows, columns)."""
    grid = size[0] // side, size[1] // side
    shares = np.stack(
        [cv2.resize(mask.astype(np.float32), grid, interpolation=cv2.INTER_AREA) for mask in masks]
    )
    best, most = shares.argmax(0), shares.max(0)
    unowned = np.where(most < FREE_SHARE, NO_OBJECT, AMBIGUOUS)
    return np.where(most >= OWNED_SHARE, best, unowned).astype(np.int8)


def _template_side(contract: Contract) -> int:
    return round(contract.template_pixels**0.5)


def _strip(templates: list[np.ndarray | None], contract: Contract) -> np.ndarray:
    """All templates side by side; grey where there is none."""
    side = _template_side(contract)
    strip = np.full((side, side * len(templates), 3), 128, np.uint8)
    for index, template in enumerate(templates):
        if template is not None:
            strip[:, index * side : (index + 1) * side] = resize(template, (side, side))
    return strip


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "encoding to memory does not fail"
    return data.tobytes()


def _picture(data: pa.Scalar) -> np.ndarray:
    buffer = np.frombuffer(data.as_buffer(), np.uint8)
    picture = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
    assert picture is not None, "a pool's files are written whole"
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def read_frame(row: dict[str, pa.Scalar], contract: Contract) -> AnnotatedFrame:
    """A row of a pool as a shot."""
    facts = json.loads(row["facts"].as_py())
    things = tuple(_thing(values) for values in facts["things"])
    side, strip = _template_side(contract), _picture(row["templates"])
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
    """What the pictures of a pool depend on; `size` is (width, height) of the resized frames."""

    preset: str
    contract: Contract
    size: Size

    @property
    def name(self) -> str:
        """The pool's folder, which ends in a hash of the settings, since runs share their pools.

        A pool drawn with other settings lies in another folder and is left there.
        """
        width, height = self.size
        contract = self.contract.template_scale, self.contract.template_pixels, self.contract.side_multiple
        shot = CLEAR_SHARE, OWNED_SHARE, FREE_SHARE, PHRASES, QUALITY
        settings = hashlib.sha256(repr((PRESETS[self.preset], contract, shot, CHUNK)).encode())
        side = _template_side(self.contract)
        return f"{self.preset}-{width}x{height}-{side}-{settings.hexdigest()[:8]}"


def open_pool(folder: Path, kind: PoolSpec, first: int, count: int, workers: int = 1) -> "FramePool":
    """Shots `first`, `first + 1`, … of a preset. Those that no earlier run drew into `folder` are drawn.

    They lie in files of `CHUNK` shots, each written whole or not at all.
    """
    starts = range(first - first % CHUNK, first + count, CHUNK)
    paths = [folder / kind.name / f"{start:010d}.arrow" for start in starts]
    chunks = zip(paths, (range(start, start + CHUNK) for start in starts), strict=True)
    missing = [(path, seeds) for path, seeds in chunks if not path.is_file()]
    if missing:
        (folder / kind.name).mkdir(parents=True, exist_ok=True)
        log.info("drawing %d pictures of %s into %s", len(missing) * CHUNK, kind.preset, folder / kind.name)
        _draw(kind, missing, workers)
    return FramePool(paths, first % CHUNK, count, kind.contract)


def _draw(kind: PoolSpec, missing: Sequence[tuple[Path, range]], workers: int) -> None:
    """Draw files of shots, and say now and then how far it is."""
    started = told = time.monotonic()
    for done, _ in enumerate(in_processes(partial(_draw_chunk, kind), missing, workers), start=1):
        now = time.monotonic()
        if now - told >= TELL_EVERY or done == len(missing):
            left = (now - started) / done * (len(missing) - done) / 60
            log.info("drew %d of %d pictures  %.0f min left", done * CHUNK, len(missing) * CHUNK, left)
            told = now


def _draw_chunk(kind: PoolSpec, chunk: tuple[Path, range]) -> Path:
    """Draw one file of shots, those of some seeds."""
    path, seeds = chunk
    preset = PRESETS[kind.preset]
    rows = [render_frame(seed, preset, kind.contract, kind.size) for seed in seeds]
    with (
        whole_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
    ):
        writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
    return path


class FramePool(Sequence[AnnotatedFrame]):
    """Drawn shots, mapped into memory: `count` of them, from `skip` on in the first file."""

    def __init__(self, paths: Sequence[Path], skip: int, count: int, contract: Contract) -> None:
        self.contract, self._skip, self._count = contract, skip, count
        self._tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in paths]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> AnnotatedFrame:  # type: ignore[override]  # one shot, never a slice
        if not 0 <= index < self._count:
            raise IndexError(index)
        chunk, row = divmod(index + self._skip, CHUNK)
        table = self._tables[chunk]
        return read_frame({name: table[name][row] for name in SCHEMA.names}, self.contract)
