"""Speed of drawing training pairs: `python -m benchmarks data [--pairs 1000000] [--plain 3000]`

The annotations of a data set of 2,000 videos with 600 frames each are generated in the layout of TNLLT.

- Theirs: the way of VPTracker's script. For every pair, the annotation files of its video are read and
  parsed.
- Ours: pairs are drawn from the index of the same files.

Both return the paths of two frames, boxes, presence, the expression and the visual prompt. Both use one core,
one after the other in the same run, and a checksum over the same pairs must agree. Ours is also timed when
pairs are written as JSON lines, and when a training process receives them from a worker.
"""

import argparse
import json
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from data_prep.geometry import Box
from data_prep.index.build import row_of, write_index
from data_prep.index.store import About, Index
from data_prep.readers.annotations import read_boxes, read_expressions, read_flags, truth_of
from data_prep.sampling.lines import PairPlan, write_pairs
from data_prep.sampling.pairs import Pair, PairSampler
from data_prep.sampling.settings import PairSettings
from data_prep.sequence import Sequence as Video
from data_prep.video.frames import ImageFrames

VIDEOS, FRAMES, SIZE = 2_000, 600, (1280, 720)
BATCH = 256  # pairs in one message of a worker; a message takes as long as drawing about 100 pairs


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks data", description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000, help="pairs that ours draws")
    parser.add_argument("--plain", type=int, default=3_000, help="pairs that the plain way draws")
    options = parser.parse_args(arguments)
    # 1. Generate the annotations, and index them.
    with tempfile.TemporaryDirectory() as folder:
        root, path = Path(folder) / "set", Path(folder) / "tnllt-all.arrow"
        _generate(root)
        _index(root, path)
        # 2. Measure the speed, and in a process of its own the memory.
        rates = _measure(root, path, options.pairs, options.plain)
        memory = _peak(path, options.pairs // 4)
    for name in ("plain", "drawn", "lines", "worker"):
        print(f"{name:<8}{rates[name]:>12,.0f} pairs a second{rates[name] / rates['plain']:>10.1f}")
    print(f"opened in {1000 * rates['open']:.1f} ms; peak {memory:.0f} MB; checksums agree")
    report = {
        "benchmark": "data",
        "ratio": round(rates["drawn"] / rates["plain"], 1),
        "ours": round(rates["drawn"]),
        "theirs": round(rates["plain"]),
        "unit": "pairs a second on one core",
        "lines_ratio": round(rates["lines"] / rates["plain"], 1),
        "worker_ratio": round(rates["worker"] / rates["plain"], 1),
        "open_seconds": round(rates["open"], 4),
        "peak_mb": round(memory),
        "pairs": options.pairs,
        "machine": machine(),
    }
    print(json.dumps(report))
    return 0


def _generate(root: Path) -> None:
    """Write the annotations of all videos."""
    rng = np.random.default_rng(0)
    for number in range(VIDEOS):
        folder = root / f"video_{number:04d}"
        folder.mkdir(parents=True)
        # (frames, 4): left, top, width, height. All boxes lie within a frame of 1280 x 720 pixels.
        boxes = np.concatenate([rng.integers(0, 600, (FRAMES, 2)), rng.integers(8, 120, (FRAMES, 2))], axis=1)
        present = rng.random(FRAMES) < 0.9
        boxes[~present] = 0  # TNLLT has a box of zeros where the target is absent
        (folder / "groundtruth.txt").write_text(
            "".join("{},{},{},{}\n".format(*box) for box in boxes.tolist())
        )
        (folder / "absent_label.txt").write_text("".join(f"{int(each)}\n" for each in present))
        (folder / "language.txt").write_text(f"the person number {number} who walks along the street")


def _index(root: Path, path: Path) -> None:
    """Index the annotations. There are no frames, so the checks of frames are left out."""
    rows = []
    for folder in sorted(root.iterdir()):
        boxes = read_boxes(folder / "groundtruth.txt")
        truth = truth_of(boxes, read_flags(folder / "absent_label.txt"))
        # The names of frames that do not exist: an index holds names and sizes, and sampling opens no image.
        names = tuple(folder / "imgs" / f"{number:05d}.png" for number in range(1, FRAMES + 1))
        prompts, spans = read_expressions(folder / "language.txt", FRAMES)
        video = Video(folder.name, ImageFrames(names, SIZE), prompts, spans=spans, truth=truth)
        rows.append(row_of(video, root))
    write_index(path, rows, About("tnllt", "all", str(root), "", len(rows)))


def _measure(root: Path, path: Path, count: int, plain: int) -> dict[str, float]:
    """Pairs per second of each way, and the seconds for opening the index."""
    plan = PairPlan((path,), PairSettings(), seed=0)
    started = time.perf_counter()
    index = Index(path)
    opened = time.perf_counter() - started
    sampler = PairSampler([index], plan.settings, plan.seed)
    # 1. The plain way takes as long as all the others together, so it draws fewer pairs. The pairs are drawn
    #    beforehand, so its time is that of reading and parsing alone.
    first = list(sampler.pairs(range(plain)))
    rates = {"open": opened}
    rates["plain"], theirs = _timed(_plain(root, pair) for pair in first)
    # The pairs exist already, so only the checksum counts and not the time.
    _, ours = _timed(first)
    if ours != theirs:
        raise SystemExit(f"checksums differ: {ours} from the index, {theirs} from the files")
    # 2. Pairs in this process, pairs as JSON lines, and pairs from a worker process.
    rates["drawn"] = _rate(sampler.pairs(range(count)), count)
    started = time.perf_counter()
    write_pairs(path.with_suffix(".jsonl"), plan, range(count // 4), workers=1)
    rates["lines"] = count // 4 / (time.perf_counter() - started)
    worker = _worker(plan, count // 4)
    rates["worker"] = _rate(chain.from_iterable(worker), count // 4)
    return rates


def _worker(plan: PairPlan, count: int) -> Iterable[list[Pair]]:
    """Pairs from a worker process, as training receives them. The process starts with the first pair."""
    # Imported here, so that the measurement of memory does not include torch.
    from torch.utils.data import DataLoader, IterableDataset

    class Stream(IterableDataset[list[Pair]]):
        def __iter__(self) -> Iterator[list[Pair]]:
            pairs = plan.sampler().pairs(range(count))
            while batch := list(islice(pairs, BATCH)):
                yield batch

    # The data set yields whole messages, so DataLoader must not collate them. `list` replaces its default
    # conversion, which would walk through every value of every pair.
    return DataLoader(Stream(), batch_size=None, collate_fn=list, num_workers=1, prefetch_factor=8)


def _peak(path: Path, count: int) -> float:
    """Peak resident memory of a process that opens the index and draws pairs, in MB."""
    plan = PairPlan((path,), PairSettings(), seed=0)
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_drawn_in, plan, count).result()


def _drawn_in(plan: PairPlan, count: int) -> float:
    for _ in plan.sampler().pairs(range(count)):
        pass
    # `ru_maxrss` would not do: a forked process starts with the peak of its parent.
    lines = Path("/proc/self/status").read_text().splitlines()
    # VmHWM is the peak of resident memory of this process alone, in KB.
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _rate(pairs: Iterable[Pair], count: int) -> float:
    started = time.perf_counter()
    # Pairs are counted and not kept, so that memory does not grow with their number.
    drawn = sum(1 for _ in pairs)
    assert drawn == count, "as many pairs as asked for"
    return count / (time.perf_counter() - started)


def _timed(pairs: Iterable[Pair]) -> tuple[float, int]:
    """Pairs per second, and a checksum of all values."""
    started, drawn = time.perf_counter(), list(pairs)
    seconds = time.perf_counter() - started
    # Outside of the measured time. The text of a pair has all of its values.
    checksum = 0
    for pair in drawn:
        checksum = zlib.crc32(repr(pair).encode(), checksum)
    return len(drawn) / seconds, checksum


def _plain(root: Path, pair: Pair) -> Pair:
    """The values of a pair, for which the annotation files of its videos are parsed again."""
    template, search = (Path(path).relative_to(root) for path in (pair.template, pair.search))
    boxes, present, expression = _parsed(root / search.parts[0])
    # A negative pair has the template and the expression of another video.
    shown = boxes
    if pair.negative:
        shown, _, expression = _parsed(root / template.parts[0])
    # Names of frames count from 1, and lines of annotations from 0.
    at, before = int(search.stem) - 1, int(template.stem) - 1
    visible = present[at] == 1 and not pair.negative
    return pair._replace(
        sequence=search.parts[0],
        template=str(root / template),
        search=str(root / search),
        expression=expression,
        visible=visible,
        template_xywh=shown[before],
        search_xywh=boxes[at] if visible else None,
    )


def _parsed(folder: Path) -> tuple[list[Box], list[int], str]:
    """Boxes, flags and the expression of one video."""
    with (folder / "groundtruth.txt").open() as lines:
        rows = [[float(side) for side in line.strip().split(",")] for line in lines]
    with (folder / "absent_label.txt").open() as lines:
        present = [int(line) for line in lines]
    boxes = [(x, y, width, height) for x, y, width, height in rows]
    return boxes, present, (folder / "language.txt").read_text().strip()
