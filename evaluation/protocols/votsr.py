"""Protocol `votsr`: trackers on a VOTSr workspace, as the referral challenge scores them.

The measure is `vot.analysis.referral` of the VOT toolkit (https://github.com/votchallenge/toolkit, 0.9.0).
`evaluation.masks.referral` defines the score of a pair of a prompt and an annotated frame. The score of a
sequence is the mean over its pairs. The score of the challenge is the mean over sequences, weighted by their
numbers of frames.

A row of the tables is a sequence and not one of its prompts. The official figure is a mean over sequences,
and all prompts of a sequence mean the same target in the same frames. A bootstrap must resample independent
units, which prompts are not. In `TrackerScores.frame_overlap` the frames of a sequence are those of its first
prompt, then those of the second, and so on, as many of each as its ground truth has lines.
"""

from pathlib import Path

import numpy as np

from configs.errors import UserError
from data_prep.files import real_path
from evaluation.absence import FOUND_IOU, MIN_LOSS_FRAMES
from evaluation.absence import METRICS as ABSENCE
from evaluation.config import EvaluationSettings
from evaluation.protocols.registry import register_protocol
from evaluation.scores import Curve, Evaluation, FrameSource, Measures, Metric

SIMILARITY = Metric("region_similarity", "Region similarity")
TOOLKIT = Metric("vot_analysis", "vot analysis")
THRESHOLDS = np.linspace(0, 1, 21)
CURVE = Curve("success", "Success", "Overlap threshold", "Pairs [%]", THRESHOLDS, SIMILARITY.key)
MEASURES = Measures(
    "votsr",
    (SIMILARITY, TOOLKIT, Metric("iou_present", "IoU when present", pooled=True), *ABSENCE),
    (CURVE,),
    "All measures are over pairs of a prompt and an annotated frame, without the pixels of the ignore mask. "
    "The score of a pair is the IoU of the masks, 1 where both are empty, 0 where one is. Region similarity: "
    "the mean over the pairs of a sequence; over all, the mean over sequences weighted by their numbers of "
    "frames. The toolkit's own number is beside it. The other measures are over the pairs of all sequences "
    "with equal weight. Absence precision: of the empty results, those where the target is absent. Absence "
    "recall: of the pairs where it is absent, those with an empty result. A target is found where "
    f"IoU >= {FOUND_IOU:g}. It is lost when it returns after an absence or is not found for "
    f"{MIN_LOSS_FRAMES} frames.",
    "https://github.com/votchallenge/toolkit (0.9.0, vot.analysis.referral)",
)


class VotsrProtocol:
    """The referral challenge on a VOTSr workspace."""

    name = MEASURES.protocol

    def evaluate(self, settings: EvaluationSettings) -> Evaluation:
        """See `evaluation.protocols.registry.EvaluationProtocol`."""
        # Imported here, because that module imports this one.
        from evaluation.masks.referral_evaluation import evaluate_workspace

        return evaluate_workspace(workspace_of(settings), settings.trackers, settings.missing)

    def frame_source(self, settings: EvaluationSettings) -> FrameSource:
        """See `evaluation.protocols.registry.EvaluationProtocol`."""
        from evaluation.report.frame_sources import WorkspaceFrames

        return WorkspaceFrames(workspace_of(settings))


def workspace_of(settings: EvaluationSettings) -> Path:
    """The workspace that the settings name. Raises UserError for keys that do not fit a workspace."""
    name = MEASURES.protocol
    if settings.boxes:
        raise UserError(f"boxes={settings.boxes}: protocol={name} scores masks; leave it out")
    if settings.layout not in (None, "votsr"):
        raise UserError(f"layout={settings.layout}: protocol={name} reads votsr")
    root = settings.truth or settings.results
    if not root:
        raise UserError("truth: name the workspace, truth=DIR")
    # `results=` may name the workspace's own folder, as for other protocols.
    own = (real_path(root), real_path(root) / "results")
    if settings.results and real_path(settings.results) not in own:
        raise UserError(f"results={settings.results}: a workspace has its own; give truth=DIR alone")
    return Path(root)


register_protocol(VotsrProtocol())
