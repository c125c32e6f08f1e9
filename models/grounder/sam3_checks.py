"""Checks of a checkpoint of SAM 3's detector before any weight is loaded. Imports no torch."""

from pathlib import Path

from configs.errors import UserError
from models.checkpoint_files import GROUNDER_KEY, check_checkpoint, local_folder
from models.file_checks import CONFIG, read_settings
from models.mask_head.checkpoint_checks import check_parts

# The checkpoint facebook/sam3 holds the detector and the tracker, and its type is `sam3_video`. A detector
# that was saved alone has the other type.
SAM3_DETECTOR_TYPES = ("sam3_video", "sam3")
TRACKER_ALONE = ("sam3_tracker", "sam3_tracker_video")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json")  # one of them is needed


def check_sam3_detector_checkpoint(checkpoint: str) -> None:
    """Check the folder of a SAM 3 checkpoint, or of its detector alone. Raises UserError.

    Of a hub id that is not in the cache of the hub only the form is checked.
    """
    folder = local_folder(checkpoint) if checkpoint else None
    settings = read_settings(GROUNDER_KEY, folder / CONFIG) if folder and (folder / CONFIG).is_file() else {}
    if settings.get("model_type") in TRACKER_ALONE:
        raise UserError(
            f"{GROUNDER_KEY}={checkpoint}: holds SAM 3's tracker without its detector, which model=sam3 "
            "needs; take a checkpoint of the whole SAM 3, such as facebook/sam3"
        )
    if Path(checkpoint).is_file():
        raise UserError(
            f"{GROUNDER_KEY}={checkpoint}: is a single file, and model=sam3 reads folders in the layout of "
            "transformers; take facebook/sam3, or a folder that it was downloaded to"
        )
    check_checkpoint(GROUNDER_KEY, checkpoint, SAM3_DETECTOR_TYPES)
    check_parts(checkpoint, settings, GROUNDER_KEY)
    if Path(checkpoint).is_dir() and not any((Path(checkpoint) / name).is_file() for name in TOKENIZER_FILES):
        raise UserError(
            f"{GROUNDER_KEY}={checkpoint}: holds no tokenizer ({' or '.join(TOKENIZER_FILES)}), which the "
            "detector needs for expressions; copy the tokenizer's files of facebook/sam3"
        )
