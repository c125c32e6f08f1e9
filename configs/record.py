"""The record beside every result: the configuration, the versions of packages and the git revision."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from configs.errors import UserError

PACKAGES = (
    "refertrack", "torch", "torchvision", "transformers", "peft", "accelerate", "deepspeed", "trl", "sam2",
    "timm", "qwen-vl-utils", "vot-toolkit", "hydra-core", "numpy", "av", "pillow",
)  # fmt: skip
SETTINGS, OVERRIDES, VERSIONS = RECORD = ("resolved.yaml", "overrides.yaml", "versions.json")
ROOT = Path(__file__).resolve().parent.parent


def write_record(folder: Path, config: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Write `resolved.yaml`, `overrides.yaml` and `versions.json` into a results folder.

    `overrides` are those of the command line; in a sweep they distinguish one job from another. In a
    distributed run only the process of rank 0 writes. Raises UserError where the folder cannot be written.
    """
    # All processes of a distributed run have the same `out`. RANK is set by the launcher.
    if os.environ.get("RANK", "0") != "0":
        return
    texts = {
        SETTINGS: OmegaConf.to_yaml(config, resolve=True),
        OVERRIDES: OmegaConf.to_yaml(list(overrides)),
        VERSIONS: json.dumps(versions(), indent=1) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            _replace(folder / name, text)
    except OSError as fault:
        raise UserError(
            f"out={folder}: cannot be written ({fault.strerror}); free space or choose another folder"
        ) from None


def _replace(path: Path, text: str) -> None:
    """Write a file completely or not at all. Where `path` is a link, the link is replaced, not its target."""
    # Not `data_prep.files.whole_file`: this package is the lowest layer, and imports none of the others.
    # What is left of an earlier process with the same id may be a link, which must not be written through.
    temporary = path.with_name(f".part-{os.getpid()}-{path.name}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def versions() -> dict[str, str | bool | None]:
    """The versions of Python and of the packages that results depend on, and the git revision of the code.

    The value is None for a package that is not installed. Outside a git checkout, `git_revision` and
    `git_dirty` are None.
    """
    found: dict[str, str | bool | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    # Untracked files are left out: results and data in the checkout do not make the code another one.
    revision = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {**found, "git_revision": revision, "git_dirty": None if status is None else bool(status)}


def _git(*arguments: str) -> str | None:
    """The output of a git command in the checkout. None without git, or without a checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
