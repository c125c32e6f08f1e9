"""The figures of the referral challenge for one tracker, and the VOT toolkit's own number.

Every figure is over pairs of a prompt and an annotated frame, which `evaluation.masks.referral` scores. The
toolkit's number comes from its `vot analysis`, which runs in a temporary copy of the workspace (made of
links). In the user's workspace the toolkit would cache its numbers by the names of tracker and sequences, and
return them again after results have changed. Also, the stack of the challenge lists no analysis.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from data_prep.geometry import box_of_mask
from data_prep.sequence import Sequence
from data_prep.votsr.regions import ABSENT, encode_mask
from data_prep.votsr.results import EXPERIMENT, check_present, check_results, read_lines, result_path
from data_prep.votsr.shadow import add_sequences, add_truth, link_results, shadow
from data_prep.votsr.toolkit import last_words, run_toolkit
from data_prep.votsr.truth import Truth, read_truth
from data_prep.votsr.workspace import Workspace, read_workspace
from evaluation.masks.referral import Pairs, Result, score_pairs

Results = Callable[[Sequence, str], Result]  # the result of a sequence's prompt


@dataclass(frozen=True)
class Tally:
    """Counts of pairs, and the sum of the IoU over those whose target is present.

    `num_said_absent`: the result is empty; `num_absent_right`: and the target is absent.
    """

    num_present: int = 0
    num_absent: int = 0
    num_said_absent: int = 0
    num_absent_right: int = 0
    iou_sum: float = 0.0

    @property
    def num_pairs(self) -> int:
        """The number of pairs of a prompt and an annotated frame."""
        return self.num_present + self.num_absent

    @classmethod
    def of(cls, pairs: Pairs) -> "Tally":
        """The counts of the pairs of some results."""
        present = pairs.annotated & ~pairs.absent
        said, rows = pairs.predicted_absent, len(pairs.scores)
        # All results have the same annotated frames, so counts of the truth are multiplied by their number.
        # The scores of absent frames are 0 or 1 and counted in `num_absent_right`, so `iou_sum` is without
        # them.
        return cls(
            num_present=rows * int(present.sum()),
            num_absent=rows * int(pairs.absent.sum()),
            num_said_absent=int(said.sum()),
            num_absent_right=int(said[:, pairs.absent].sum()),
            iou_sum=float(pairs.scores[:, present].sum()),
        )

    def __add__(self, other: "Tally") -> "Tally":
        """The counts of both together."""
        return Tally(
            self.num_present + other.num_present,
            self.num_absent + other.num_absent,
            self.num_said_absent + other.num_said_absent,
            self.num_absent_right + other.num_absent_right,
            self.iou_sum + other.iou_sum,
        )

    def figures(self) -> dict[str, float | int | None]:
        """The figures of these pairs, by the names in `referral_figures`."""
        return {
            "accuracy": _ratio(self.iou_sum + self.num_absent_right, self.num_pairs),
            "iou_when_present": _ratio(self.iou_sum, self.num_present),
            "absent_precision": _ratio(self.num_absent_right, self.num_said_absent),
            "absent_recall": _ratio(self.num_absent_right, self.num_absent),
            "num_pairs": self.num_pairs,
            "num_present": self.num_present,
            "num_absent": self.num_absent,
            "num_said_absent": self.num_said_absent,
            "num_absent_right": self.num_absent_right,
        }


def _ratio(part: float, total: float) -> float | None:
    return part / total if total else None


def referral_figures(workspace_root: Path, tracker_id: str) -> dict[str, Any]:
    """The figures of a tracker's results in a workspace, as values for JSON.

    There are figures of all pairs, of each sequence (`sequences`), and of each of its prompts (`prompts`):

    - `accuracy`: the mean score. At the top level it is the mean over sequences weighted by their numbers of
      frames, as in the toolkit; `pair_accuracy` is the mean over all pairs;
    - `iou_when_present`: the mean IoU over the pairs whose target is present;
    - `absent_precision`: of the pairs with an empty result, the share whose target is absent;
    - `absent_recall`: of the pairs whose target is absent, the share with an empty result;
    - `num_pairs`, `num_present`, `num_absent`, `num_said_absent`, `num_absent_right`: the counts.

    A mean over no pairs is None. `without_truth` lists the sequences without an annotated frame, `problems`
    what could not be read of the workspace, and `notes` ground truth that is not a mask. Raises UserError
    where a result is missing or damaged, or the ground truth cannot be read.
    """
    workspace = read_workspace(workspace_root, check_frames=False)
    truths, without = truths_of(workspace)
    # A missing result must not raise the mean of the others.
    check_present(workspace.root, tracker_id, (sequence for sequence, _ in truths))

    def result(sequence: Sequence, prompt: str) -> Result:
        return result_of(workspace.root, tracker_id, sequence.name, prompt)

    return _figures(workspace, truths, without, result)


def result_of(root: Path, tracker_id: str, sequence_name: str, prompt: str) -> Result:
    """A prompt's result in a workspace. Raises UserError where it is missing or cannot be read."""
    path = result_path(root, tracker_id, sequence_name, prompt)
    return Result(str(path), read_lines(path))


def all_absent_row(workspace_root: Path) -> dict[str, Any]:
    """The figures (see `referral_figures`) of a result that is *absent* in every frame, as a baseline.

    No result is read or written. Raises UserError where the ground truth cannot be read.
    """
    workspace = read_workspace(workspace_root, check_frames=False)
    truths, without = truths_of(workspace)
    return _figures(workspace, truths, without, lambda _sequence, _prompt: Result("absent", []))


def true_boxes_row(workspace_root: Path) -> dict[str, Any]:
    """The figures of a result that fills the true box of the target: an upper bound for boxes without masks.

    No result is read or written. Raises UserError where the ground truth cannot be read.
    """
    workspace = read_workspace(workspace_root, check_frames=False)
    truths, without = truths_of(workspace)
    filled = {sequence.name: _filled_boxes(sequence, truth) for sequence, truth in truths}
    return _figures(workspace, truths, without, lambda sequence, _prompt: filled[sequence.name])


def _filled_boxes(sequence: Sequence, truth: Truth) -> Result:
    """A result that fills the bounding box of the true mask in each annotated frame."""
    lines = [ABSENT] * len(sequence.frames)
    for frame in truth.annotated():
        box = box_of_mask(frame.mask)
        if box is not None and frame.index < len(lines):
            # `right` and `bottom` are exclusive, as the ends of slices.
            left, top, right, bottom = (int(side) for side in box)
            mask = np.zeros_like(frame.mask, bool)
            mask[top:bottom, left:right] = True
            lines[frame.index] = encode_mask(mask)
    return Result(f"boxes of {sequence.name}", lines)


def truths_of(workspace: Workspace) -> tuple[list[tuple[Sequence, Truth]], list[str]]:
    """The sequences with annotated frames and their ground truth, and the names of the others."""
    found = [(sequence, read_truth(sequence)) for sequence in workspace.sequences]
    truths = [(sequence, truth) for sequence, truth in found if truth is not None]
    return truths, [sequence.name for sequence, truth in found if truth is None]


def _figures(
    workspace: Workspace, truths: list[tuple[Sequence, Truth]], without: list[str], result: Results
) -> dict[str, Any]:
    pooled, weighted, frames = Tally(), 0.0, 0
    sequences: dict[str, Any] = {}
    for sequence, truth in truths:
        # 1. Score the results of all prompts of a sequence together: the ground truth is decoded once.
        pairs = score_pairs(truth, [result(sequence, prompt) for prompt in sequence.expressions])
        tallies = [Tally.of(pairs.of(slice(row, row + 1))) for row in range(len(sequence.expressions))]
        tally = sum(tallies, Tally())
        pooled += tally
        # 2. Figures of the sequence and of each of its prompts.
        figures: dict[str, Any] = dict(tally.figures())
        weighted += figures["accuracy"] * len(sequence.frames)
        frames += len(sequence.frames)
        figures["prompts"] = {
            prompt: each.figures() for prompt, each in zip(sequence.expressions, tallies, strict=True)
        }
        sequences[sequence.name] = figures
    # 3. Figures over all sequences: all pairs with equal weight, but for the accuracy.
    top = pooled.figures()
    return {
        **top,
        "accuracy": _ratio(weighted, frames),
        "pair_accuracy": top["accuracy"],
        "sequences": sequences,
        "without_truth": without,
        "problems": [problem.reason for problem in workspace.problems],
        "notes": [note for _, truth in truths for note in truth.notes],
    }


STACK = f"""title: Referral accuracy
experiments:
  {EXPERIMENT}:
    type: referral
    analyses:
    - type: vot.analysis.referral.ReferralAverageAccuracy
    - type: vot.analysis.referral.ReferralSequenceAccuracy
"""
REPORT = "accuracy"


def toolkit_accuracy(workspace_root: Path, tracker_id: str) -> dict[str, Any]:
    """The result of `vot analysis` for a tracker: the mean IoU over prompts and annotated frames.

    `accuracy` is the toolkit's ReferralAverageAccuracy (a mean over sequences weighted by their numbers of
    frames), `sequences` its ReferralSequenceAccuracy by name, and `toolkit` its version. Sequences without an
    annotated frame are left out and listed in `without_truth`: the toolkit would fail, or count them as 0. If
    no sequence is left, `accuracy` is None and the toolkit is not run. Raises UserError where a result is
    missing or damaged (the toolkit would leave it out of the mean), and where the toolkit fails.
    """
    workspace = read_workspace(workspace_root, check_frames=False)
    truths, without = truths_of(workspace)
    notes = {"without_truth": without, "problems": [problem.reason for problem in workspace.problems]}
    if not truths:
        return {"accuracy": None, "sequences": {}, "toolkit": None, **notes}
    sequences = [sequence for sequence, _ in truths]
    check_results(workspace.root, tracker_id, sequences)
    # The copy has links to the frames and results, and ground truth as the toolkit can read it.
    with shadow(workspace, tracker_id, stack_text=STACK) as root:
        add_sequences(root, sequences, every_prompt=True)
        for sequence, truth in truths:
            add_truth(root, sequence.name, truth)
        link_results(workspace, root, tracker_id, sequences)
        report = _run_analysis(root, tracker_id)
    # The report lists the results of analyses in the order of the stack: the mean, then single sequences.
    average, parts = report["results"][EXPERIMENT]["results"]
    scores = {name: part[0] for name, part in zip(report["sequences"], parts, strict=True)}
    return {"accuracy": average[0][0], "sequences": scores, "toolkit": report["toolkit"], **notes}


def _run_analysis(root: Path, tracker_id: str) -> dict[str, Any]:
    """Run the analysis in the copy of a workspace and read its report. Raises UserError
    where there is none.
    """
    output = run_toolkit(root, "analysis", "--workspace", str(root), "--name", REPORT, tracker_id)
    path = root / "analysis" / f"{REPORT}.json"
    if not path.is_file():
        raise UserError(f"vot analysis made no report: {last_words(output)}; check the workspace's truth")
    report: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return report
