"""Making a workspace of the challenge with its sequences, as `vot initialize` does.

If the network fails, the toolkit's command (0.9.0) leaves a workspace without data, and then refuses to
continue ("already initialized"). Here its two steps are called separately, so a second run continues.
"""

from pathlib import Path

from configs.errors import UserError
from data_prep.votsr.textfiles import read_config, read_yaml
from data_prep.votsr.toolkit import stack_file

TIMEOUT_S = 20.0
AGAIN = "run task=votsr_init again, it continues where it stopped"


def votsr_init(workspace: Path, stack: str) -> None:
    """Make a workspace for a stack of the toolkit (`vots2026/referral`) and download its sequences.

    An interrupted download continues with the next sequence. Raises UserError where the stack is unknown, the
    folder is a complete workspace or one of another stack, or the data cannot be downloaded.
    """
    # 1. Find mistakes before anything is written: the stack, the folder, the network.
    url = _dataset_of(stack)
    listed = workspace / "sequences" / "list.txt"
    if listed.is_file():
        raise UserError(f"{workspace}: is a workspace with its sequences already; choose another folder")
    _check_reachable(url)
    # 2. Make the workspace and download; the list is written last, so it shows that all is there.
    _begin(workspace, stack)
    _download(url, listed.parent)
    if not listed.is_file():
        raise UserError(f"{workspace}: some sequences could not be downloaded; {AGAIN}")


def _dataset_of(stack: str) -> str:
    """The URL of the description of a stack's data."""
    from vot.stack import list_integrated_stacks

    path = stack_file(stack)
    if path is None:
        known = ", ".join(sorted(name for name in list_integrated_stacks() if name.startswith("vots")))
        raise UserError(f"stack={stack}: the toolkit has no such stack; choose one of {known}")
    url = read_yaml(path, "install vot-toolkit again").get("dataset")
    if not url:
        raise UserError(f"stack={stack}: names no data to download; choose vots2026/referral")
    return str(url)


def _check_reachable(url: str) -> None:
    """Raise UserError, after a short time, where the description of the data cannot be downloaded."""
    import requests

    remedy = "check the network or set https_proxy, or copy a workspace here from elsewhere"
    try:
        answer = requests.get(url, timeout=TIMEOUT_S)
    except requests.RequestException as fault:
        raise UserError(f"{url}: cannot be reached ({type(fault).__name__}); {remedy}") from None
    if not answer.ok:
        raise UserError(f"{url}: the server answers {answer.status_code}; {remedy}")


def _begin(workspace: Path, stack: str) -> None:
    """Write config.yaml and the empty folders, unless an earlier run has written them."""
    from vot.workspace import Workspace

    if not (workspace / "config.yaml").is_file():
        Workspace.initialize(str(workspace), {"stack": stack, "registry": ["./trackers.ini"]}, download=False)
    held = read_config(workspace).get("stack")
    if held != stack:
        raise UserError(f"{workspace}: is a workspace of the stack {held}; choose another folder")


def _download(url: str, sequences: Path) -> None:
    from vot import ToolkitException
    from vot.dataset import download_dataset

    try:
        download_dataset(url, str(sequences))
    except (ToolkitException, OSError) as fault:
        reason = " ".join(str(fault).split())
        raise UserError(f"{url}: the download failed ({reason}); {AGAIN}") from None
