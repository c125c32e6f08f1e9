"""A VOTSr workspace in miniature with truth and two trackers' results."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.votsr.regions import encode_mask
from data_prep.votsr.results import result_path, write_result
from data_prep.votsr.textfiles import write_workspace
from data_prep.votsr.toolkit import ensure_tracker
from tests.votsr_miniature import PROMPTS, add_results, add_sequence, add_truth, disc, make_workspace

OTHER = "Other"


def shapes(seed: int, count: int) -> list[np.ndarray | None]:
    """Discs, one in three absent, some under the ignore mask of the left quarter."""
    random = np.random.default_rng(seed)
    found = [disc(*random.uniform(0, 60, 2), random.uniform(2, 20)) for _ in range(count)]
    return [None if random.random() < 0.33 else shape for shape in found]


def add_other(
    root: Path, name: str, masks: Sequence[np.ndarray | None], prompts: Sequence[str] = PROMPTS
) -> None:
    """The second tracker's result, the same for every prompt."""
    for prompt in prompts:
        write_result(
            result_path(root, OTHER, name, prompt), [encode_mask(mask) for mask in masks], len(masks)
        )
    ensure_tracker(root / "trackers.ini", OTHER)


def scored_workspace(root: Path) -> Path:
    """Two sequences with gaps, empty truths and, in one, an ignore mask; the other tracker is perfect."""
    make_workspace(root, ["ball"], num_frames=6)
    add_sequence(root, "kite", 15)
    write_workspace(root, ["ball", "kite"])
    for name, count, seed in (("ball", 6, 1), ("kite", 15, 2)):
        truth = [disc(20, 20, 9), *shapes(seed, count)[1:]]
        add_truth(root / "sequences" / name, truth, [at % 3 != 1 for at in range(count)], name == "ball")
        for number, prompt in enumerate(PROMPTS):
            mine = [disc(14 + number, 20, 9), *shapes(10 * seed + number, count)[1:]]  # partly to be ignored
            add_results(root, name, mine, [prompt])
        add_other(root, name, truth)
    return root
