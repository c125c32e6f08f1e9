"""How evenly a step's pairs fall on processes: in turn, and shared out by the tokens of their pictures.

Arithmetic alone: pairs whose frames have sizes of videos, as the contract of the published models resizes
them. All processes wait for the one with most tokens.
"""

import random
from statistics import fmean

from data_prep.contract.contract import BUILT_IN
from data_prep.contract.images import search_size
from train.sft.batch_sampler import balanced_groups

SIZES = (
    (320, 240), (480, 270), (480, 360), (640, 360), (640, 480), (854, 480), (1280, 720), (1920, 1080),
)  # fmt: skip
PROCESSES, PAIRS, STEPS = 8, 16, 200


def balance() -> dict[str, float]:
    """The largest share of `PROCESSES` over the mean one, averaged over steps."""
    contract = BUILT_IN["qwen"]
    token = contract.side_multiple**2
    kinds = [width * height // token for width, height in (search_size(contract, size) for size in SIZES)]
    rng = random.Random(0)
    found: dict[str, list[float]] = {"in turn": [], "shared out": []}
    for _ in range(STEPS):
        tokens = rng.choices(kinds, k=PROCESSES * PAIRS)
        by_turn = [list(range(rank, len(tokens), PROCESSES)) for rank in range(PROCESSES)]
        for name, groups in (("in turn", by_turn), ("shared out", balanced_groups(tokens, PROCESSES, PAIRS))):
            sums = [sum(tokens[place] for place in group) for group in groups]
            found[name].append(max(sums) / fmean(sums))
    return {name: fmean(each) for name, each in found.items()}
