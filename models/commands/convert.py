"""`task=convert`: Meta's checkpoints of SAM 2 to transformers' layout, and back."""

from pathlib import Path

from configs.errors import UserError
from configs.terminal import echo
from data_prep.files import real_path
from data_prep.folders import whole_folder
from models.checkpoint_files import CONFIG
from models.mask_head.checkpoint_checks import META_SUFFIXES
from models.mask_head.meta_checkpoint import write_meta_file, write_transformers_folder


def convert(checkpoint: str, out: Path) -> None:
    """Convert a `.pt` file to a folder, or a folder to a `.pt` file, and say how the result is used.

    Raises UserError where there is nothing to convert, or where `out` already holds weights.
    """
    source = Path(checkpoint)
    if not checkpoint or not source.exists():
        raise UserError(
            f"checkpoint={checkpoint}: no such file or folder; name a .pt file of Meta's or a folder of "
            "transformers"
        )
    if source.is_dir() and real_path(source) == real_path(out):
        raise UserError(f"out={out}: is the folder of the checkpoint; take another out=")
    if (out / CONFIG).is_file() or any(out.glob("*.pt")):
        raise UserError(f"out={out}: already holds weights; remove them or take another out=")
    to_folder = not source.is_dir()
    if to_folder and source.suffix not in META_SUFFIXES:
        raise UserError(f"checkpoint={checkpoint}: is not a .pt file; name a .pt file of Meta's or a folder")
    with whole_folder(out / "converted") as written:
        write = write_transformers_folder if to_folder else write_meta_file
        model = write(source, written)
    # The files are moved beside the record of the command. config.json is moved last: a folder without it is
    # not taken for a checkpoint, so a command that is killed here leaves nothing that looks complete.
    converted = out / "converted"
    for path in sorted(converted.iterdir(), key=lambda path: path.name == CONFIG):
        path.rename(out / path.name)
    converted.rmdir()
    if to_folder:
        echo(f"{model.size} in {out}: bash infer.sh mask_head={model.size} mask_head.checkpoint={out}")
    else:
        echo(f"{out / model.checkpoint}: sam2's build_sam2_video_predictor({model.yaml!r}, ...) loads it")
