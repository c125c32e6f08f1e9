"""Does a change leave every output as it was? `python -m benchmarks behaviour --out NEW [--compare OLD]`

Runs the commands that make results (inference with each tracker, 20 steps of each training recipe, pairs of
training data, the scores of every protocol) on inputs that are rendered or invented here, and writes the
SHA-256 of each result to `NEW/hashes.json`. With `--compare` the hashes of an earlier run are read and every
file that differs is printed. Run it in the checkout before a refactoring and in the one after it, on the same
machine: results on a CPU in float32 are the same to the bit.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import machine
from configs.record import RECORD

ROOT = Path(__file__).resolve().parent.parent
TRACKERS = ("referral", "per_frame", "vptracker")
MASK_PROTOCOLS = ("davis", "davis_semi")
BOX_PROTOCOLS = ("tnllt", "lasot", "tnl2k", "pytracking", "otb", "got10k")
FORMATS = ("swift", "llamafactory_sharegpt", "llamafactory_alpaca", "vptracker")
TIMES = ("second", "waited", "data_wait", "mfu")  # columns of metrics.jsonl that differ from run to run

# Each recipe for 20 steps.
RECIPES = {
    "nano_lora": [
        "recipe.pairs=80", "recipe.batch=4", "recipe.train_data.videos=6", "recipe.evaluate_every=10",
        "recipe.evaluate=[{split: test, videos: 3}]", "recipe.evaluate_pairs=8", "recipe.log_every=1",
        "recipe.workers=0", "recipe.threads=1",
    ],
    "nano_grounder": [
        "recipe.stages=[{steps: 10, language: false, images: 32, batch: 4},"
        "{steps: 10, images: 32, batch: 4}]",
        "recipe.evaluate_every=10", "recipe.evaluate_samples=8", "recipe.log_every=1", "recipe.workers=1",
        "recipe.threads=1",
    ],
    "nano_mask_head": [
        "recipe.stages=[{image_size: 64, steps: 10, still_batch: 2},"
        "{image_size: 64, steps: 10, still_share: 0.0, clip_batch: 1}]",
        "recipe.evaluate_every=10", "recipe.evaluate_scenes=4", "recipe.log_every=1",
    ],
}  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Make every output, print and compare the hashes, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks behaviour", description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="new folder for everything that is made")
    parser.add_argument("--compare", type=Path, help="folder of an earlier run")
    parser.add_argument("--only", nargs="*", help="parts to run: inference, training, data, evaluation")
    options = parser.parse_args(arguments)
    # Some results name the folder that they are made in, so it has the same name in every run.
    out: Path = options.out.resolve() / "run"
    out.mkdir(parents=True)
    parts = {"inference": _inference, "data": _data, "evaluation": _evaluation, "training": _training}
    for name in options.only or parts:
        began = time.monotonic()
        parts[name](out)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    hashes: dict[str, str] = {str(path.relative_to(out)): _digest(path, out) for path in _results(out)}
    (options.out / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")
    differing = _compare(hashes, options.compare) if options.compare else []
    report = {
        "benchmark": "behaviour",
        "ratio": (len(hashes) - len(differing)) / max(1, len(hashes)),
        "ours": len(hashes) - len(differing),
        "theirs": len(hashes),
        "unit": "result files that are the same",
        "machine": machine(),
    }
    print(json.dumps(report))
    return 1 if differing else 0


def _command(out: Path, package: str, *arguments: str) -> None:
    """Run `python -m <package> …` of this checkout in `out`; its output goes to a log beside the results."""
    # The order of the terms of a sum, and with it the last bits, may depend on the number of threads.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (out / "commands.log").open("a") as log:
        log.write(f"== {package} {' '.join(arguments)}\n")
        log.flush()
        done = subprocess.run(
            # -P: the working folder is not on the import path, where a folder `train/` of results lies.
            [sys.executable, "-P", "-m", package, *arguments],
            cwd=out, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{package} {' '.join(arguments)} failed; see {out / 'commands.log'}")


def _inference(out: Path) -> None:
    """The demo; 40 frames with each tracker; a split of a data set with boxes and masks."""
    _command(out, "infer", "out=demo", "overlay=false")
    render = ["task=render", "preset=val", "sequences=2", "expressions=2", "frames=40", "workers=1"]
    _command(out, "data_prep", *render, "out=workspace")
    for tracker in TRACKERS:
        run = ["workspace=workspace", f"tracker={tracker}", f"tracker_id={tracker}", f"out=runs/{tracker}"]
        _command(out, "infer", *run, "overlay=false")
    _index(out)
    _command(out, "infer", "data=tnl2k", "split=train", "indexes=indexes", "results=boxes", "overlay=false")


def _index(out: Path) -> None:
    """A rendered data set in TNL2K's layout, indexed once."""
    if (out / "indexes").exists():
        return
    render = ["task=render", "preset=train", "sequences=3", "frames=30", "workers=1", "layout=tnl2k"]
    _command(out, "data_prep", *render, "out=tnl2k/train")
    index = ["task=index", "data=[tnl2k]", "root=tnl2k", "split=train", "indexes=indexes", "workers=1"]
    _command(out, "data_prep", *index)


def _data(out: Path) -> None:
    """Pairs of training data as JSON lines, and exported records."""
    _index(out)
    source = ["data=[tnl2k]", "split=train", "indexes=indexes", "n=60", "workers=1"]
    _command(out, "data_prep", "task=sample", *source, "out=sample")
    for form in FORMATS:
        more = ["coordinates=frame"] if form == "vptracker" else []
        _command(out, "data_prep", "task=export", f"format={form}", *source, *more, f"out=export/{form}")


def _evaluation(out: Path) -> None:
    """The scores of every protocol on invented results, in every layout, and of a sweep of runs.

    `votsr` scores the tracked workspace, and the layouts `data` and `masks` the tracked data set, where the
    part `inference` has made them.
    """

    def score(name: str, *given: str) -> None:
        _command(out, "evaluation", *given, f"out=scores/{name}")

    _generate_boxes(out)
    for protocol in BOX_PROTOCOLS:
        score(protocol, f"protocol={protocol}", "truth=annos", "results=invented")
    score("faulty", "truth=annos", "results=faulty", "missing=count")
    score("corners", "truth=annos", "results=corners", "boxes=xyxy")
    for layout in ("pytracking", "sutrack"):
        # Not the name of the layout alone, which is the name of a protocol too.
        given = [f"layout={layout}", "truth=annos", f"results={layout}", "compare=[far_256,near_256]"]
        score(f"layout_{layout}", *given)
    _invent_masks(out)
    for protocol in MASK_PROTOCOLS:
        given = ["data=refytvos", "split=train", "truth=refytvos", "results=masks", "missing=count"]
        score(protocol, f"protocol={protocol}", *given)
    _invent_runs(out)
    _command(out, "evaluation", "task=ablation", "runs=sweep", "out=scores/ablation")
    if (out / "workspace" / "results").exists():
        score("votsr", "protocol=votsr", "truth=workspace")
    if (out / "boxes").exists():
        for layout in ("data", "masks"):
            given = ["data=tnl2k", "split=train", "indexes=indexes", "results=boxes", f"layout={layout}"]
            for protocol in ("got10k", "tnl2k"):
                score(f"{protocol}_{layout}", f"protocol={protocol}", *given)


def _generate_boxes(out: Path) -> None:
    """Truth with absent frames, and the results of two trackers, in the folders of TNLLT's toolkit."""
    rng = np.random.default_rng(0)
    (out / "annos" / "absent").mkdir(parents=True)
    for number in range(6):
        count = 20 + 7 * number
        corners, sides = rng.uniform(50, 300, (count, 2)), rng.uniform(20, 90, (count, 2))
        boxes = np.concatenate([corners, sides], axis=1).round()
        _write_boxes(out / "annos" / f"s{number}.txt", boxes)
        # 1 where the target is visible, as it is in the first frame of every benchmark.
        flags = (rng.random(count) > 0.15).astype(int)
        flags[0] = 1
        (out / "annos" / "absent" / f"s{number}.txt").write_text("".join(f"{flag}\n" for flag in flags))
        for tracker, spread in (("near", 4.0), ("far", 25.0)):
            found = boxes + rng.normal(0, spread, boxes.shape)
            _write_boxes(out / "invented" / f"{tracker}_tracking_result" / f"s{number}.txt", found)
            _write_boxes(out / "pytracking" / tracker / "256" / f"s{number}.txt", found)
            _write_boxes(out / "sutrack" / tracker / "256" / "tnllt" / f"s{number}.txt", found)
            corners = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)
            _write_boxes(out / "corners" / f"{tracker}_tracking_result" / f"s{number}.txt", corners)
            # A quarter of the boxes is absence, and the last sequence is missing or too short.
            found[np.random.default_rng(number).random(count) < 0.25] = 0
            if number < 5:
                _write_boxes(out / "faulty" / f"{tracker}_tracking_result" / f"s{number}.txt", found)
            elif tracker == "far":
                _write_boxes(out / "faulty" / f"{tracker}_tracking_result" / f"s{number}.txt", found[:9])


def _write_boxes(path: Path, boxes_xywh: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(f"{side:.2f}" for side in box) + "\n" for box in boxes_xywh))


def _invent_masks(out: Path) -> None:
    """A data set in Ref-YouTube-VOS' layout, and two trackers' masks, of which one frame is missing."""
    rng = np.random.default_rng(1)
    # (96, 128) each: the row and the column of every pixel.
    rows, columns = np.mgrid[:96, :128]
    videos = {}
    for video in range(3):
        # The data set has every fifth frame of its videos, named by its number in the video.
        names = [f"{5 * frame:05d}" for frame in range(12 + video)]
        # Two expressions for each of the two targets.
        expressions = {f"{n}": {"exp": f"target {n}", "obj_id": f"{1 + n // 2}"} for n in range(4)}
        videos[f"v{video}"] = {"frames": names, "expressions": expressions}
        for frame, name in enumerate(names):
            image = Image.fromarray(rng.integers(0, 255, (96, 128, 3), np.uint8))
            ids = np.zeros((96, 128), np.uint8)
            for target in (1, 2):
                across, down = 20 + 40 * target + 2 * frame, 20 * target + 3 * frame
                shape = (rows - down) ** 2 + (columns - across) ** 2 <= (8 + 3 * video) ** 2
                if frame not in (4, 5):  # the targets are absent there
                    ids[shape] = target
            _save(image, out / "refytvos" / "train" / "JPEGImages" / f"v{video}" / f"{name}.jpg")
            coloured = Image.fromarray(ids)
            coloured.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])  # the data set has palette images
            _save(coloured, out / "refytvos" / "train" / "Annotations" / f"v{video}" / f"{name}.png")
            for tracker, reach in (("near", 1), ("far", 6)):
                for expression in range(4):
                    # Shifted and with noise, so that neither regions nor contours agree fully.
                    found = np.roll(ids == 1 + expression // 2, rng.integers(-reach, reach + 1, 2), (0, 1))
                    found ^= rng.random(found.shape) < 0.002 * reach
                    if frame == 7:
                        found[:] = False
                    if (tracker, video, expression, frame) != ("far", 1, 2, 3):
                        path = out / "masks" / tracker / f"v{video}" / str(expression) / f"{name}.png"
                        _save(Image.fromarray(255 * found.astype(np.uint8)), path)
    path = out / "refytvos" / "meta_expressions" / "train" / "meta_expressions.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"videos": videos}))


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _invent_runs(out: Path) -> None:
    """Runs of a sweep: evaluations with scores, trackings with a summary, trainings with metrics."""
    for threshold in (0.3, 0.5):
        for seed in (0, 1):
            run = out / "sweep" / f"score_{threshold}_{seed}"
            run.mkdir(parents=True)
            (run / "resolved.yaml").write_text(f"threshold: {threshold}\nseed: {seed}\nout: {run}\n")
            figures = {"success": 50 + 10 * threshold + seed, "precision": 70 - threshold}
            (run / "scores.json").write_text(json.dumps({"near": figures, "far": {"success": 20 + seed}}))
    # A run without scores, as one that was interrupted.
    run = out / "sweep" / "unfinished"
    run.mkdir()
    (run / "resolved.yaml").write_text(f"threshold: 0.7\nseed: 0\nout: {run}\n")


def _training(out: Path) -> None:
    """20 steps of each recipe of the small models."""
    for recipe, settings in RECIPES.items():
        _command(out, "train", f"recipe={recipe}", *settings, f"out=train/{recipe}", "device=cpu")


def _results(out: Path) -> Iterator[Path]:
    """The files of results, in the order of their names, without the records of the run."""
    patterns = (
        "**/results/*/baseline/**/*.txt", "boxes/**/*.txt", "sample/**/*.jsonl", "export/**/*.json*",
        "export/**/*.jpg", "scores/*/scores.json", "scores/*/*.csv", "scores/*/*.tex", "scores/*/*.md",
        "scores/*/plots/*.png", "scores/ablation/*.png", "train/**/metrics.jsonl",
        "train/**/*.safetensors", "train/**/contract.json",
    )  # fmt: skip
    found = {path for pattern in patterns for path in out.glob(pattern) if path.is_file()}
    yield from sorted(path for path in found if path.name not in RECORD)


def _digest(path: Path, out: Path) -> str:
    """The SHA-256 of a file: of texts without the path of `out`, of metrics without the columns of times."""
    if path.name != "metrics.jsonl":
        return hashlib.sha256(path.read_bytes().replace(str(out).encode(), b"OUT")).hexdigest()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{key: value for key, value in row.items() if not any(t in key for t in TIMES)} for row in rows]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()


def _compare(hashes: dict[str, str], earlier: Path) -> list[str]:
    """Print and return the names of results that differ, are new, or are missing."""
    held: dict[str, str] = json.loads((earlier / "hashes.json").read_text())
    # With `--only`, the earlier run may have made parts that this run has not.
    made = {Path(name).parts[0] for name in hashes}
    held = {name: value for name, value in held.items() if Path(name).parts[0] in made}
    differing = sorted(name for name in held.keys() | hashes.keys() if held.get(name) != hashes.get(name))
    for name in differing:
        message = "missing" if name not in hashes else "new" if name not in held else "differs"
        print(f"{message}: {name}")
    return differing
