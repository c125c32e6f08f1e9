"""`python -m benchmarks NAME`: measurements. The last line of the output is a JSON object."""

import argparse
import importlib
import sys

NAMES = (
    "behaviour",
    "propagate_boxes",
    "data",
    "drafts",
    "evaluation",
    "fuzz",
    "inference",
    "kill",
    "launch",
    "loading",
    "long_video",
    "mask_heads",
    "mask_lines",
    "memory",
    "memory_policies",
    "prefixes",
    "small_models",
    "tracking",
    "training",
)


def main() -> int:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    # Only the name is parsed here. The benchmark parses the rest, and imports what it needs.
    name, rest = parser.parse_known_args()
    module = importlib.import_module(f"benchmarks.{name.name}")
    return int(module.main(rest))


if __name__ == "__main__":
    sys.exit(main())
