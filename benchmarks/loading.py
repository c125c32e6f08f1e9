"""Host memory while a grounder is loaded: `python -m benchmarks loading [--megabytes 400]`

A checkpoint with random weights is written, once in float32 and once in bfloat16, and loaded in processes of
their own: as it is, converted to float32, and with LoRA adapters, which are merged. For each one the table
has the peak of resident memory beyond that of the imported libraries, and its ratio to the size of the loaded
weights. Resident memory includes pages of the file that the weights are read from. The system takes these
back where memory is short, so the column `anonymous` is what the process holds in the end without them.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import machine
from configs.import_path import safe_path_variables

WIDTH, VISION_LAYERS = 1024, 4
LAYER_MEGABYTES = 35  # of one layer of this width, in float32


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table and a final JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks loading", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=400, help="about the size of the weights in float32")
    megabytes = parser.parse_args(arguments).megabytes
    cases = {}
    with tempfile.TemporaryDirectory() as folder:
        _child("write", folder, str(megabytes))
        for name, checkpoint in (
            ("float32", "float32"),
            ("bfloat16 to float32", "bfloat16"),
            ("with adapters", "adapters"),
        ):
            cases[name] = _child("load", str(Path(folder) / checkpoint), "float32")
    print(f"{'':<24}{'weights MB':>12}{'peak MB':>10}{'ratio':>8}{'anonymous MB':>14}")
    for name, case in cases.items():
        ratio = case["peak"] / case["weights"]
        print(
            f"{name:<24}{case['weights']:>12.0f}{case['peak']:>10.0f}{ratio:>8.2f}{case['anonymous']:>14.0f}"
        )
    print(json.dumps({"benchmark": "loading", "unit": "MB", "cases": cases, "machine": machine()}))
    return 0


def _child(*arguments: str) -> dict[str, float]:
    """What a process that runs this module with these arguments reports."""
    command = [sys.executable, "-m", "benchmarks.loading", *arguments]
    environment = {**os.environ, **safe_path_variables(os.environ), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    # Libraries may print to stdout before; the report is the last line.
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _write(folder: Path, megabytes: int) -> None:
    """Write the checkpoints that are loaded."""
    import torch
    from peft import LoraConfig, get_peft_model

    from data_prep.contract.contract import BUILT_IN, write_contract
    from models.grounder.nano import build_grounder, build_processor

    processor = build_processor()
    layers = max(1, megabytes // LAYER_MEGABYTES - VISION_LAYERS)
    model = build_grounder(processor, width=WIDTH, layers=layers, vision_layers=VISION_LAYERS)
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        torch.nn.Module.to(model, dtype).save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
        write_contract(folder / name, BUILT_IN["short"])
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=r".*language_model.*_proj"))
    adapted.peft_config["default"].base_model_name_or_path = str(folder / "float32")
    adapted.save_pretrained(str(folder / "adapters"))
    write_contract(folder / "adapters", BUILT_IN["short"])
    print("{}")


def _load(checkpoint: str, dtype: str) -> None:
    """Load a checkpoint, and print the memory in MB that this took."""
    import torch

    from models.config import GrounderConfig
    from models.grounder.grounder import Grounder

    before = _status("VmRSS"), _status("RssAnon")
    model = Grounder.load(GrounderConfig(checkpoint, dtype=dtype), torch.device("cpu")).model
    # Weights in the dtype of the file are mapped into memory, and read when they are used first.
    for weight in model.parameters():
        weight.sum()
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters()) / 2**20
    peak, anonymous = _status("VmHWM") - before[0], _status("RssAnon") - before[1]
    print(json.dumps({"weights": weights, "peak": peak, "anonymous": anonymous}))


def _status(name: str) -> float:
    """A figure in MB of this process, from /proc (Linux only)."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text("utf-8"), re.MULTILINE)
    assert found is not None, f"/proc/self/status has no {name}"
    return int(found[1]) / 1024


if __name__ == "__main__":
    if sys.argv[1] == "write":
        _write(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        _load(sys.argv[2], sys.argv[3])
