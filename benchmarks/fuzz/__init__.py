"""Fuzzing of the commands: random mutations of their input files. `python -m benchmarks fuzz`."""

from benchmarks.fuzz.run import main

__all__ = ["main"]
