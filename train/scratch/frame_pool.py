"""Pools of rendered frames: resized images, with annotations of every object.

Rendering a frame takes as long as a training step on it. So all cores render a pool once, into Arrow files
that are mapped into memory, and every epoch asks other questions about its frames.
"""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from data_prep.contract.contract import Contract
from data_prep.files import whole_file
from data_prep.geometry import Size
from data_prep.parallel import in_processes
from data_prep.world.presets import PRESETS
from train.scratch.annotated_frames import (
    SCHEMA,
    AnnotatedFrame,
    read_frame,
    render_frame,
    rendering_settings,
    template_side,
)

CHUNK = 250  # frames of a file
LOG_EVERY = 30.0  # seconds between log lines while a pool is rendered
log = logging.getLogger(__name__)


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
        frame, *crop = rendering_settings(self.crop)
        # More words change the expressions; pools with basic words keep their names.
        words = PRESETS[self.preset].words
        extra = crop if words == "basic" else [*crop, words]
        # Not `hash`, whose values for texts differ between processes.
        settings = hashlib.sha256(repr((PRESETS[self.preset], contract, frame, CHUNK, *extra)).encode())
        kind = "-crops" if self.crop else ""
        side = template_side(self.contract)
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
