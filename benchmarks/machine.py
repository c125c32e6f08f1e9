"""The machine on which a figure was measured."""

import os
import platform
from pathlib import Path


def machine() -> str:
    """The name of the processor and the number of cores, as one line."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in _lines(info) if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
