"""Running the VOT toolkit's command line, as a process of its own and without the network."""

import os
import re
import subprocess
import sys
from pathlib import Path

from configs.errors import UserError

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
