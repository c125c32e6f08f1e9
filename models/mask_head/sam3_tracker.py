"""The tracker of SAM 3 as the mask head: SAM 2's memory on the image encoder of SAM 3.

Carion et al. 2025, "SAM 3: Segment Anything with Concepts" (https://arxiv.org/abs/2511.16719). Of SAM 3's two
parts this is the one that propagates masks; its detector of concepts is not loaded. The image encoder is a
ViT of 450 M parameters for images of 1008×1008.
"""

from transformers import Sam3ImageProcessor, Sam3TrackerVideoConfig, Sam3TrackerVideoModel

from models.mask_head.checkpoint_checks import SAM3_TRACKER_TYPES
from models.mask_head.checkpoints import Architecture
from models.mask_head.sam2 import MaskHead

# A checkpoint of the whole SAM 3 has the weights of the tracker under `tracker_model.`, those of the image
# encoder with the detector, and the tracker's own neck under `tracker_neck.`. `from_pretrained` of this class
# picks them by its table of renamed weights, and leaves the rest of the detector unread.
SAM3_TRACKER = Architecture(SAM3_TRACKER_TYPES, Sam3TrackerVideoModel, Sam3ImageProcessor)


class Sam3Tracker(MaskHead):
    """The tracker of SAM 3 with memories as values; it has the methods of `MaskHead`.

    transformers attends to the four conditioning frames that are nearest in time, whereas a memory bank keeps
    the first one and the three newest ones (`MemoryLimits`). Up to four conditioning frames the two agree.
    """

    # Only the classes differ from SAM 2: the modules of the tracker have the same names and arguments.
    architecture = SAM3_TRACKER


def published_sam3_tracker_config() -> Sam3TrackerVideoConfig:
    """The configuration of the published tracker, which serves to build it without weights."""
    # The defaults of transformers are the published numbers. The ViT has patches of 14 pixels, so the
    # coarsest feature map of an image of 1008 pixels is 72x72. The neck upsamples it to 144x144 and 288x288.
    return Sam3TrackerVideoConfig()
