"""Growth of memory with the length of a video: `python -m benchmarks memory [--frames 300 3000]`

- Ours: a run of `python -m infer` with one expression and all overlays, over videos of two lengths. Each run
  has a process of its own, whose peak of resident memory is measured.
- Theirs: SAM 2 in the streaming session of transformers, with a box on the first frame, in a process of its
  own.

Both are also given as KB for each additional frame.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import machine
from configs.import_path import safe_path_variables
from data_prep.votsr.textfiles import write_sequence, write_workspace
from data_prep.world.film import render_clip
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from models.mask_head.config import MASK_HEADS

CYCLE = 60  # rendered frames; a longer video repeats them


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory", description=__doc__)
    parser.add_argument("--frames", type=int, nargs=2, default=(300, 3000))
    short, long = parser.parse_args(arguments).frames
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        render_workspace(source, PRESETS["demo"], sequences=1, expressions=1, frames=CYCLE)
        ours = [_child("ours", str(_repeated(source, Path(folder) / str(n), n))) for n in (short, long)]
    theirs = [_child("theirs", str(n)) for n in (short, long)]
    # The growth per frame: the model and its libraries, which need most of the memory, cancel out.
    our_slope = (ours[1] - ours[0]) / (long - short)
    their_slope = (theirs[1] - theirs[0]) / (long - short)
    print(f"{'':<28}{'frames':>8}{'peak MB':>10}{'KB a frame':>12}")
    for name, peaks, slope in (
        ("python -m infer", ours, our_slope),
        ("transformers' session", theirs, their_slope),
    ):
        for count, peak in zip((short, long), peaks, strict=True):
            print(f"{name:<28}{count:>8}{peak / 1024:>10.1f}{slope:>12.2f}")
    print(f"peak over {long} frames: {ours[1] / ours[0]:.3f} times that over {short}")
    report = {
        "benchmark": "memory",
        "ratio": round(theirs[1] / ours[1], 3),
        "ours": round(ours[1] / 1024, 1),
        "theirs": round(theirs[1] / 1024, 1),
        "unit": f"MB of peak resident memory over {long} frames",
        "kb_a_frame": {"ours": round(our_slope, 3), "theirs": round(their_slope, 3)},
        "peak_long_over_short": round(ours[1] / ours[0], 4),
        "frames": [short, long],
        "machine": machine(),
    }
    print(json.dumps(report))
    return 0


def _repeated(source: Path, root: Path, num_frames: int) -> Path:
    """Make a workspace with one video that repeats the frames of `source` up to `num_frames`."""
    name = "long"
    folder = root / "sequences" / name
    (folder / "color").mkdir(parents=True)
    frames = sorted((source / "sequences").glob("*/color/*.jpg"))
    for index in range(num_frames):
        # Links, since 3,000 copies of frames would take longer than tracking them.
        (folder / "color" / f"{index + 1:08d}.jpg").symlink_to(frames[index % len(frames)])
    scene = render_clip(PRESETS["demo"].first_seed, PRESETS["demo"], 1).scene
    target = scene.things[scene.target]
    write_sequence(folder, [f"the {target.colour} {target.shape}"], 12.0)
    write_workspace(root, [name])
    return root


def _child(kind: str, argument: str) -> int:
    """The peak of resident memory in KB of a process that runs this module for one measurement."""
    command = [sys.executable, "-m", "benchmarks.memory", kind, argument]
    environment = {**os.environ, **safe_path_variables(os.environ), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    # Libraries may print to stdout before; the peak is the last line.
    return int(done.stdout.splitlines()[-1])


def _measure(kind: str, argument: str) -> None:
    """Do the work of a child process, and print its peak of memory."""
    if kind == "ours":
        _track(Path(argument))
    else:
        _stream(int(argument))
    # In KB on Linux.
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _track(root: Path) -> None:
    # Imported here, so that the process of each side loads only the libraries of that side.
    from infer.config import InferSettings
    from infer.runs.run import run
    from infer.trackers.referral import ReferralConfig

    settings = InferSettings(
        workspace=str(root), tracker=ReferralConfig(), device="cpu", out=str(root / "out"), pack=False
    )
    if run(settings) != 0:
        raise RuntimeError("the run failed")


def _stream(num_frames: int) -> None:
    import numpy as np
    import torch
    from transformers import Sam2ImageProcessor, Sam2VideoInferenceSession, Sam2VideoModel

    torch.set_num_threads(1)
    checkpoint = MASK_HEADS["nano"].checkpoint
    model = Sam2VideoModel.from_pretrained(checkpoint, dtype=torch.float32, trust_remote_code=False)
    # Without a video the session streams: frames are passed to the model one by one.
    session = Sam2VideoInferenceSession(
        video=None, video_height=270, video_width=480, inference_device="cpu", dtype=torch.float32
    )
    processor = Sam2ImageProcessor.from_pretrained(checkpoint, trust_remote_code=False)
    pixels = processor(np.zeros((270, 480, 3), np.uint8), return_tensors="pt")["pixel_values"][0]
    side = pixels.shape[-1]
    index = session.obj_id_to_idx(1)
    # A box is given as its two corners, with the labels 2 and 3.
    # (1, 1, 2, 2): image, object, corner, x and y in pixels of the resized frame.
    box = torch.tensor([[[side * 0.4, side * 0.4], [side * 0.6, side * 0.6]]])[None]
    session.add_point_inputs(index, 0, {"point_coords": box, "point_labels": torch.tensor([[[2, 3]]])})
    # The processor of transformers, which is not used here, would mark the object as one with new inputs.
    session.obj_with_new_inputs = [1]
    with torch.inference_mode():
        for frame in range(num_frames):
            model(inference_session=session, frame=pixels, frame_idx=frame)


if __name__ == "__main__":
    _measure(sys.argv[1], sys.argv[2])
