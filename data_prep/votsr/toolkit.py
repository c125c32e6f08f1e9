"""The VOT toolkit: running its command line as a process of its own, without the network; its stacks."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from configs.errors import UserError
from data_prep.votsr.results import EXPERIMENT
from data_prep.votsr.textfiles import read_yaml

STACK_NAME = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")  # no way out of the toolkit's folder
NOWHERE = "http://127.0.0.1:9"  # nothing listens there: the toolkit's look for an update fails at once
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PROGRESS = re.compile(r"\s*\d+ %\s*")


def run_toolkit(folder: Path, *arguments: str, online: bool = False) -> list[str]:
    """Run `vot <arguments>` in `folder`; the lines that it said, without colours and progress.

    A process of its own, since the toolkit keeps caches and an open archive until it ends. Variables
    VOT_* of the caller, which turn its registry and formats about, do not reach it. It often exits 0
    when it has failed: look at what it made. Raises UserError, with its last words, where it does not.
    """
    command = [sys.executable, "-P", "-m", "vot", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=_environment(online),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    lines = [COLOUR.sub("", line).strip() for line in done.stdout.splitlines()]
    said = [line for line in lines if line and not PROGRESS.fullmatch(line)]
    if done.returncode != 0:
        raise UserError(f"vot {arguments[0]} failed: {last_words(said)}; check the workspace with it by hand")
    return said


def last_words(said: list[str]) -> str:
    """The end of what the toolkit said, as one line."""
    return " | ".join(said[-3:]) or "it said nothing"


def _environment(online: bool) -> dict[str, str]:
    """The caller's variables less VOT_*; offline, with proxies that lead nowhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VOT_")}
    if online:
        return kept
    kept = {key: value for key, value in kept.items() if key.lower() != "no_proxy"}
    return kept | {name: NOWHERE for proxy in PROXIES for name in (proxy, proxy.upper())}


def stack_file(stack: str) -> Path | None:
    """The file of one of the toolkit's own stacks, as `vots2026/referral`; None for every other name.

    The toolkit itself also takes files: a workspace's own, absolute names, `../x`. Its YAML loader builds
    any Python object that such a file names, so a stack file from elsewhere can run code.
    """
    path = _stacks() / f"{stack}.yaml"
    return path if STACK_NAME.fullmatch(stack) and path.is_file() else None


def check_referral_stack(source: Path, stack: str) -> None:
    """Raise UserError, naming the file `source`, where results cannot be packed for a stack.

    It must be one of the toolkit's own, and its one experiment that of the referral challenge.
    """
    if not _is_referral(stack_file(stack)):
        known = (path.relative_to(_stacks()).with_suffix("") for path in sorted(_stacks().rglob("*.yaml")))
        names = [name.as_posix() for name in known if _is_referral(stack_file(name.as_posix()))]
        raise UserError(
            f"{source}: stack={stack!a} is no stack of the toolkit's for referral results, and a "
            f"stack file of one's own is never read; write stack: {' or '.join(names)}, or give pack=false"
        )


def _stacks() -> Path:
    """The folder of the toolkit's stacks. The toolkit is not imported, which takes seconds."""
    found = find_spec("vot")
    assert found is not None and found.origin is not None, "vot-toolkit is one of the dependencies"
    return Path(found.origin).parent / "stack"


def _is_referral(path: Path | None) -> bool:
    experiments = read_yaml(path, "install vot-toolkit again").get("experiments") if path else None
    return (
        isinstance(experiments, dict)
        and list(experiments) == [EXPERIMENT]
        and isinstance(experiments[EXPERIMENT], dict)
        and experiments[EXPERIMENT].get("type") == "referral"
    )
