"""The corpus of the fuzzer: small valid inputs of all commands, each in a folder of its own."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image

from benchmarks.fuzz.worker import Command, run_commands
from data_prep.video.frames import read_image
from data_prep.votsr.regions import decode_mask, encode_mask
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from models.config import GROUNDERS
from models.mask_head.config import MASK_HEADS

# As small as possible: a seed runs whole commands on them.
FRAMES, SEQUENCES = 3, 2
VIDEO_FRAMES = 5
VIDEO_SIZE = (240, 160)
# One codec for each container, so that several demuxers and decoders are covered.
CODECS = {"mp4": "libx264", "mkv": "mpeg4", "avi": "mjpeg", "ts": "mpeg2video"}
TRACKERS = ("ours", "theirs")
RECORD = {
    "instruction": "Follow it.",
    "input": "<image><image>the dog",
    "output": "<think>It stays.\n</think><d>no</d>  \n<answer>the dog</answer>",
}


@dataclass(frozen=True)
class Corpus:
    """The folder of all inputs. `corpus / name` is the path of one, which is made at its first use."""

    root: Path

    def __truediv__(self, name: str) -> Path:
        if not (self.root / name).exists():
            MAKERS[name](self)
        return self.root / name


def weights(inputs: Corpus) -> tuple[str, str]:
    """The keys of the small models, as absolute paths."""
    return f"model.checkpoint={inputs / 'grounder'}", f"mask_head.checkpoint={inputs / 'mask_head'}"


def _run(inputs: Corpus, *commands: Command) -> None:
    """Run commands that make inputs. Raises SystemExit where one fails."""
    place = inputs.root / "making"
    for name in ("cwd", "tmp"):
        (place / name).mkdir(parents=True, exist_ok=True)
    ended = run_commands(commands, place / "cwd", place / "log", 600)
    if ended.status != 0 or len(ended.statuses) != len(commands):
        raise SystemExit(f"{commands}: ended with {ended.statuses}\n{ended.stderr.decode()[-2000:]}")
    shutil.rmtree(place)


def _weights(inputs: Corpus) -> None:
    """Copy the shipped small models."""
    for name, checkpoint in (("grounder", GROUNDERS["nano"]), ("mask_head", MASK_HEADS["nano"])):
        shutil.copytree(checkpoint.checkpoint, inputs.root / name)


def _workspaces(inputs: Corpus) -> None:
    """Three workspaces: `scored` has ground truth and results, `kept` has results, `bare` has neither."""
    # 1. A rendered workspace with ground truth, and a copy without it.
    render_workspace(inputs.root / "scored", PRESETS["demo"], SEQUENCES, 1, FRAMES)
    _bare(inputs, "bare")
    # 2. Track one copy once. Its results serve both workspaces that have results.
    shutil.copytree(inputs.root / "bare", inputs.root / "kept")
    run = (f"workspace={inputs.root / 'kept'}", "tracker_id=base", f"out={inputs.root / 'making' / 'out'}")
    _run(inputs, ("infer", (*run, "overlay=false", "pack=false", "device=cpu", *weights(inputs))))
    for name in ("results", "trackers.ini"):
        source, copy = inputs.root / "kept" / name, inputs.root / "scored" / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, copy)


def _bare(inputs: Corpus, name: str) -> None:
    shutil.copytree(
        inputs.root / "scored", inputs.root / name, ignore=shutil.ignore_patterns("groundtruth*", "*.json")
    )


def frames_of(inputs: Corpus, count: int) -> list[np.ndarray]:
    """`count` frames of a rendered sequence, repeated as needed. RGB uint8, each (height, width, 3)."""
    paths = sorted((inputs / "bare" / "sequences").glob("*/color/*.jpg"))[:FRAMES]
    return [read_image(paths[number % len(paths)]) for number in range(count)]


def _videos(inputs: Corpus) -> None:
    """A video in each container format, and a short GIF for runs that need few frames."""
    folder = inputs.root / "videos"
    folder.mkdir()
    images = [Image.fromarray(frame).resize(VIDEO_SIZE) for frame in frames_of(inputs, VIDEO_FRAMES)]
    for ending, codec in CODECS.items():
        with av.open(folder / f"clip.{ending}", "w") as container:
            stream = cast(VideoStream, container.add_stream(codec, rate=10))
            stream.width, stream.height = VIDEO_SIZE
            # Motion JPEG has the full range of values, which FFmpeg names as another pixel format.
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_image(image)))
            # `None` flushes the encoder, which holds frames back.
            container.mux(stream.encode(None))
    for name, shown in (("clip", images), ("short", images[:2])):
        # 100 ms a frame are 10 frames a second, as in the other containers.
        shown[0].save(folder / f"{name}.gif", save_all=True, append_images=shown[1:], duration=100)


def _boxes(inputs: Corpus) -> None:
    """Ground truth and box results in the folder layout of the LaSOT toolkit."""
    rng = np.random.default_rng(0)
    root = inputs.root / "boxes"
    for number in range(3):
        truth = np.concatenate([100 + rng.normal(0, 5, (8, 2)), 30 + rng.normal(0, 3, (8, 2))], axis=1).round(
            1
        )
        # The target is present in the first frame, as in all box benchmarks.
        absent = (rng.random(8) < 0.2) & (np.arange(8) > 0)
        truth[absent] = 0
        _write_lines(root / "annos" / f"s{number}.txt", truth.tolist())
        # The folder is named `absent`, but its flags are 1 where the target is visible.
        _write_lines(root / "annos" / "absent" / f"s{number}.txt", [[int(each)] for each in ~absent])
        for tracker in TRACKERS:
            # Shifted, so that a result that is read as the ground truth by mistake gives other scores.
            result = (truth + rng.uniform(1, 4, truth.shape)).round(2)
            _write_lines(root / "results" / f"{tracker}_tracking_result" / f"s{number}.txt", result.tolist())


def _write_lines(path: Path, rows: Sequence[Sequence[float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(f"{side:g}" for side in row) + "\n" for row in rows))


def _sweep(inputs: Corpus) -> None:
    """The runs of a Hydra sweep, with scores."""
    for number, rate in enumerate((0.1, 0.01)):
        folder = inputs.root / "sweep" / str(number)
        folder.mkdir(parents=True)
        (folder / "resolved.yaml").write_text(f"rate: {rate}\nseed: 0\nout: {folder}\n")
        (folder / "overrides.yaml").write_text(f"- rate={rate}\n")
        (folder / "scores.json").write_text(json.dumps({"ours": {"success": 50 + number, "precision": 60.5}}))


def _data_sets(inputs: Corpus) -> None:
    """A rendered data set in the layout of TNL2K, with its index."""
    root = inputs.root / "tnl2k"
    render_workspace(root / "test", PRESETS["demo"], SEQUENCES, 1, 4, layout="tnl2k")
    index = ("task=index", "data=[tnl2k]", "split=test", f"root={root}", f"indexes={inputs.root / 'indexes'}")
    _run(inputs, ("data_prep", (*index, "workers=1", f"out={inputs.root / 'making' / 'out'}")))


def _masks(inputs: Corpus) -> None:
    """A data set in the layout of Ref-YouTube-VOS, with mask results as PNG files and as text lines."""
    message = {}
    for sequence in sorted((inputs / "scored" / "sequences").iterdir()):
        if not sequence.is_dir():
            continue
        frames = sorted((sequence / "color").iterdir())
        size = Image.open(frames[0]).size
        masks = [decode_mask(line, size) for line in next(sequence.glob("groundtruth_*")).read_text().split()]
        names = [f"{number:05d}" for number in range(len(frames))]
        message[sequence.name] = {"frames": names, "expressions": {"0": {"exp": "the ball", "obj_id": "1"}}}
        for name, frame, mask in zip(names, frames, masks, strict=True):
            assert mask is not None
            home = inputs.root / "refytvos" / "train"
            _save(frame, home / "JPEGImages" / sequence.name / f"{name}.jpg")
            _save_mask(mask, home / "Annotations" / sequence.name / f"{name}.png", palette=True)
            _save_mask(
                np.roll(mask, 3, 1),
                inputs.root / "masks" / "ours" / sequence.name / "0" / f"{name}.png",
                palette=False,
            )
        lines = inputs.root / "masks" / "theirs" / sequence.name / "0.txt"
        lines.parent.mkdir(parents=True)
        lines.write_text("".join(f"{encode_mask(mask)}\n" for mask in masks))
    path = inputs.root / "refytvos" / "meta_expressions" / "train" / "meta_expressions.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"videos": message}))


def _save(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)


def _save_mask(mask: np.ndarray, path: Path, palette: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask.astype(np.uint8) * (1 if palette else 255))
    if palette:
        image = image.convert("P")
        # 256 colours of three bytes. Pixels hold the id of an object, which is 1.
        image.putpalette([0, 0, 0, 200, 30, 30] + [90] * 762)
    image.save(path)


def _records(inputs: Corpus) -> None:
    """Records in the format of ReasoningTrack, and an archive in parts with its MD5 sum."""
    rows = [
        {
            **RECORD,
            "images": [f"/your_root_path/sampled_data_fromLaSOT/s{number}/img{at}.jpg" for at in (1, 2)],
        }
        for number in range(4)
    ]
    (inputs.root / "records").mkdir()
    (inputs.root / "records" / "records.json").write_text(json.dumps(rows))
    folder = inputs.root / "archive"
    folder.mkdir()
    whole = Path(
        shutil.make_archive(str(inputs.root / "making"), "gztar", inputs / "tnl2k" / "test", "demo-001")
    )
    # Three parts, as TNLLT is distributed: joined, they are the archive.
    content, third = whole.read_bytes(), whole.stat().st_size // 3 + 1
    for number, letter in enumerate("abc"):
        (folder / f"set_part_a{letter}").write_bytes(content[number * third : (number + 1) * third])
    # As `md5sum` writes it: the sum, two blanks and the name.
    (folder / "set.md5").write_text(
        f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}  set.tar.gz\n"
    )
    whole.unlink()


def training(inputs: Corpus, out: Path) -> Command:
    """The fine-tuning run whose files are mutated."""
    source = f"data: [tnl2k], split: test, indexes: {inputs / 'indexes'}"
    # Three steps of four pairs, with a checkpoint after each.
    return "train", (
        "recipe=sft",
        "device=cpu",
        weights(inputs)[0],
        f"recipe.train_data={{{source}}}",
        f"recipe.evaluate=[{{{source}}}]",
        *(
            "recipe.pairs=12",
            "recipe.batch=4",
            "recipe.evaluate_pairs=2",
            "recipe.workers=0",
            "recipe.tune.rank=2",
        ),
        *("recipe.checkpoint_every=1", "recipe.log_every=1", "recipe.learning_rate=0.01", f"out={out}"),
    )


def _trained(inputs: Corpus) -> None:
    """Trained `adapters`, and the `run` that trained them in its state before the last step."""
    run = inputs.root / "run"
    _run(inputs, training(inputs, run))
    shutil.copytree(run / "final", inputs.root / "adapters")
    # Without its newest checkpoint and its final weights the run is resumable before the last step.
    newest = max((run / "checkpoints").glob("step-*"))
    shutil.rmtree(newest)
    shutil.rmtree(run / "final")


MAKERS: dict[str, Callable[[Corpus], None]] = {
    **dict.fromkeys(("grounder", "mask_head"), _weights),
    **dict.fromkeys(("bare", "kept", "scored"), _workspaces),
    **dict.fromkeys(("tnl2k", "indexes"), _data_sets),
    **dict.fromkeys(("refytvos", "masks"), _masks),
    **dict.fromkeys(("records", "archive"), _records),
    **dict.fromkeys(("adapters", "run"), _trained),
    "videos": _videos,
    "boxes": _boxes,
    "sweep": _sweep,
}
"""The function that makes an input, by the name of the input."""
