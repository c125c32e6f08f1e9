"""Checks of a mask head's checkpoint before any weight is loaded. Imports no torch.

Each check raises UserError for what is certainly wrong with a local folder. Of a hub id only the form is
checked; its config.json is checked when the weights are loaded.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from configs.errors import UserError
from models.checkpoint_files import check_checkpoint
from models.file_checks import CONFIG, MASK_HEAD_KEY, nested_settings, read_settings

KEY = MASK_HEAD_KEY
# The values of `model_type` in config.json that each mask head reads. The checkpoint facebook/sam3 holds the
# detector and the tracker, and its type is `sam3_video`; a tracker that was saved alone has the other type.
SAM2_TYPES = ("sam2_video",)
EDGETAM_TYPES = ("edgetam_video",)
SAM3_TRACKER_TYPES = ("sam3_video", "sam3_tracker_video")
OPTION_OF_TYPE = {
    **dict.fromkeys(SAM2_TYPES, "sam2_1_large"),
    **dict.fromkeys(EDGETAM_TYPES, "edgetam"),
    **dict.fromkeys(SAM3_TRACKER_TYPES, "sam3_tracker"),
}
"""An option of `mask_head=` that reads checkpoints of this type."""
META_SUFFIXES = (".pt", ".pth")

# How the types of a mask head's parts begin, in the nested settings of its config.json. transformers builds a
# part of any type that the settings name, and some of those load files or download weights by themselves.
PART_TYPES = ("sam2", "sam3", "edgetam", "clip_text_model", "timm_wrapper")
# What the settings of timm's backbone may contain. timm reads local files or the hub for other values: a name
# with a scheme (`hf-hub:`), or the argument `checkpoint_path`, which names a pickle.
TIMM_ARCHITECTURES = "repvit_"  # how the names of EdgeTAM's image encoders begin
TIMM_ARGUMENTS = frozenset({"in_chans", "features_only", "out_indices"})


def check_sam2_checkpoint(checkpoint: str) -> None:
    """Check the folder of a SAM 2 checkpoint. Raises UserError."""
    check_mask_head_folder(checkpoint, SAM2_TYPES)


def check_edgetam_checkpoint(checkpoint: str) -> None:
    """Check that timm is installed, and the folder of an EdgeTAM checkpoint. Raises UserError."""
    check_timm()
    check_mask_head_folder(checkpoint, EDGETAM_TYPES)


def check_sam3_tracker_checkpoint(checkpoint: str) -> None:
    """Check the folder of a SAM 3 checkpoint, or of its tracker alone. Raises UserError."""
    check_mask_head_folder(checkpoint, SAM3_TRACKER_TYPES)


def check_sam2_meta_checkpoint(checkpoint: str) -> None:
    """Check that the package `sam2` is installed, and that a checkpoint of Meta is a file or a hub id.

    Raises UserError.
    """
    if find_spec("sam2") is None:
        raise UserError("mask_head=sam2_meta: needs Meta's package; pip install sam2, or take sam2_1_large")
    if not checkpoint:
        raise UserError(f"{KEY}=: is empty; name a .pt file, or a hub id such as facebook/sam2.1-hiera-large")
    path = Path(checkpoint)
    if path.is_dir():
        raise UserError(
            f"{KEY}={checkpoint}: is a folder, and mask_head=sam2_meta reads Meta's .pt files; take "
            f"mask_head=sam2_1_large {KEY}={checkpoint}"
        )
    if not path.is_file() and (path.suffix in META_SUFFIXES or checkpoint.count("/") != 1):
        raise UserError(f"{KEY}={checkpoint}: no such file, nor a hub id of the form owner/name")


def check_mask_head_folder(checkpoint: str, model_types: tuple[str, ...]) -> None:
    """Check that a folder holds a mask head of one of these types, and nothing that reads other files.

    Raises UserError otherwise, and names the option of `mask_head=` or the command that reads the checkpoint.
    """
    path = Path(checkpoint)
    if path.suffix in META_SUFFIXES and path.is_file():
        raise UserError(
            f"{KEY}={checkpoint}: is a single file, as Meta publishes SAM 2; take mask_head=sam2_meta, or "
            f"convert it to a folder with python -m models task=convert checkpoint={checkpoint} out=FOLDER"
        )
    settings = read_settings(KEY, path / CONFIG) if (path / CONFIG).is_file() else {}
    check_mask_head_type(checkpoint, settings.get("model_type"), model_types)
    check_checkpoint(KEY, checkpoint, model_types)
    check_parts(checkpoint, settings)


def check_mask_head_type(checkpoint: str, found: Any, model_types: tuple[str, ...]) -> None:
    """Raise UserError for a checkpoint that another option of `mask_head=` reads."""
    if found in OPTION_OF_TYPE and found not in model_types:
        raise UserError(
            f"{KEY}={checkpoint}: holds a {found!r} model, and this mask head reads "
            f"{' or '.join(model_types)}; take mask_head={OPTION_OF_TYPE[found]} {KEY}={checkpoint}"
        )


def check_timm() -> None:
    """Raise UserError where timm, which has EdgeTAM's image encoder, is not installed."""
    if find_spec("timm") is None:
        raise UserError(
            "mask_head=edgetam: its image encoder needs timm; pip install timm, or take mask_head=sam2_1_tiny"
        )


def check_parts(checkpoint: str, settings: dict[str, Any], key: str = KEY) -> None:
    """Raise UserError where a part in the settings of a config.json would read other files or the hub.

    `key` is the configuration key for messages. The detector of SAM 3 is checked by the same rules.
    """
    for part in nested_settings(settings):
        kind = str(part.get("model_type") or "")  # parts of SAM 2 that transformers 4.57 saved have none
        if kind and not kind.startswith(PART_TYPES):
            raise UserError(
                f"{key}={checkpoint}: its config.json has a part of type {kind!r}, which is not built here; "
                "restore config.json"
            )
        # By these keys and not by the type: EdgeTAM's backbone is timm's where the type is missing.
        if "architecture" in part or "model_args" in part:
            _check_timm_part(
                f"{key}={checkpoint}", str(part.get("architecture")), part.get("model_args") or {}
            )


def _check_timm_part(named: str, name: str, arguments: Mapping[str, Any]) -> None:
    if not name.startswith(TIMM_ARCHITECTURES) or ":" in name or "/" in name:
        raise UserError(
            f"{named}: its image encoder is timm's {name!r}, and only {TIMM_ARCHITECTURES}* is "
            "built; restore config.json"
        )
    if others := sorted(set(arguments) - TIMM_ARGUMENTS):
        raise UserError(
            f"{named}: its config.json passes {others[0]} to timm, which is never done; restore it"
        )
