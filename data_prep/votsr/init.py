"""Making a workspace of the challenge, as `vot initialize` does, with its sequences downloaded.

The toolkit's command (0.9.0) leaves a workspace without data behind when the network fails, and then
refuses to go on ("already initialized"); its two steps are called here one by one, so that it goes on.
"""

from pathlib import Path

from configs.errors import UserError
from data_prep.votsr.textfiles import read_config, read_yaml
from data_prep.votsr.toolkit import stack_file

PATIENCE_S = 20.0
AGAIN = "run task=votsr_init again, it goes on where it stopped"


def votsr_init(workspace: Path, stack: str) -> None:
    """Make a workspace for a stack of the toolkit (`vots2026/referral`) and download its sequences.

    A download that stopped goes on by whole sequences. Raises UserError where the stack is unknown, the
    folder is a complete workspace or one of another stack, or the data do not come.
    """
    url = _dataset_of(stack)
    listed = workspace / "sequences" / "list.txt"
    if listed.is_file():
        raise UserError(f"{workspace}: is a workspace with its sequences already; choose another folder")
    _check_reachable(url)
    _begin(workspace, stack)
    _download(url, listed.parent)
    if not listed.is_file():
        raise UserError(f"{workspace}: some sequences could not be downloaded; {AGAIN}")


def _dataset_of(stack: str) -> str:
    """Where the data of a stack are described."""
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
    """Raise UserError, soon, where the description of the data cannot be had."""
    import requests

    mend = "check the network or set https_proxy, or copy a workspace here from elsewhere"
    try:
        answer = requests.get(url, timeout=PATIENCE_S)
    except requests.RequestException as fault:
        raise UserError(f"{url}: cannot be reached ({type(fault).__name__}); {mend}") from None
    if not answer.ok:
        raise UserError(f"{url}: the server answers {answer.status_code}; {mend}")


def _begin(workspace: Path, stack: str) -> None:
    """Write config.yaml and the empty folders, unless an earlier download that stopped has."""
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
