"""The VOT toolkit's own referral accuracy, by its `vot analysis` on a shadow of the workspace.

In the user's workspace the toolkit would keep figures by the names of tracker and sequences and hand them
out again after the results have changed; and its stock stack lists no analysis.
"""

import json
from pathlib import Path
from typing import Any

from configs.errors import UserError
from data_prep.votsr.complete import check_results
from data_prep.votsr.results import EXPERIMENT
from data_prep.votsr.shadow import add_sequences, add_truth, link_results, shadow
from data_prep.votsr.toolkit import last_words, run_toolkit
from data_prep.votsr.workspace import read_workspace
from evaluation.votsr import truths_of

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
    """What `vot analysis` says of a tracker's results: the mean IoU over prompts and annotated frames.

    `accuracy` is the toolkit's ReferralAverageAccuracy (sequences weigh by their frames), `sequences`
    its ReferralSequenceAccuracy by name, `toolkit` its version. Sequences without an annotated frame are
    left out and named in `without_truth` (the toolkit would fail, or count them as 0); where all are,
    `accuracy` is None and the toolkit is not run. Raises UserError where a result is missing or broken
    (the toolkit would leave it out of the mean), or the toolkit fails.
    """
    workspace = read_workspace(workspace_root, check_frames=False)
    truths, without = truths_of(workspace)
    told = {"without_truth": without, "problems": [problem.reason for problem in workspace.problems]}
    if not truths:
        return {"accuracy": None, "sequences": {}, "toolkit": None, **told}
    sequences = [sequence for sequence, _ in truths]
    check_results(workspace.root, tracker_id, sequences)
    with shadow(workspace, tracker_id, stack_text=STACK) as root:
        add_sequences(root, sequences, every_prompt=True)
        for sequence, truth in truths:
            add_truth(root, sequence.name, truth)
        link_results(workspace, root, tracker_id, sequences)
        report = _run_analysis(root, tracker_id)
    average, parts = report["results"][EXPERIMENT]["results"]
    scores = {name: part[0] for name, part in zip(report["sequences"], parts, strict=True)}
    return {"accuracy": average[0][0], "sequences": scores, "toolkit": report["toolkit"], **told}


def _run_analysis(root: Path, tracker_id: str) -> dict[str, Any]:
    """Run the analysis in a shadow workspace; its report. Raises UserError where there is none."""
    said = run_toolkit(root, "analysis", "--workspace", str(root), "--name", REPORT, tracker_id)
    path = root / "analysis" / f"{REPORT}.json"
    if not path.is_file():
        raise UserError(f"vot analysis made no report: {last_words(said)}; check the workspace's truth")
    report: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return report
