"""The VOT toolkit: running its command line without the network, its stacks, and its trackers.ini.

The toolkit only knows a tracker that has a section in trackers.ini.
"""

import configparser
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from configs.errors import UserError
from data_prep.files import read_bytes, write_whole
from data_prep.votsr.results import EXPERIMENT
from data_prep.votsr.textfiles import read_yaml

NOWHERE = "http://127.0.0.1:9"  # no server: the toolkit's check for an update fails at once
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PROGRESS = re.compile(r"\s*\d+ %\s*")


def run_toolkit(folder: Path, *arguments: str, online: bool = False) -> list[str]:
    """Run `vot <arguments>` in `folder`; returns the lines of its output, without colours and progress.

    It runs in a process of its own, because the toolkit keeps caches and an open archive until it ends.
    Variables VOT_* of the caller, which change its registry and formats, are not passed on. The toolkit
    often exits with 0 although it has failed, so callers must check what it made. Raises UserError with the
    end of its output where the exit status is not 0.
    """
    # -P keeps the current folder off the import path: a workspace may contain a `vot.py`.
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
    """The end of the toolkit's output, as one line."""
    return " | ".join(said[-3:]) or "no output"


def _environment(online: bool) -> dict[str, str]:
    """The caller's variables without VOT_*; offline, with proxies that do not exist."""
    # 1. Variables of the toolkit are dropped.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VOT_")}
    if online:
        return kept
    # 2. Offline: every proxy points to nowhere, without exceptions.
    kept = {key: value for key, value in kept.items() if key.lower() != "no_proxy"}
    return kept | {name: NOWHERE for proxy in PROXIES for name in (proxy, proxy.upper())}


def stack_file(stack: str) -> Path | None:
    """The file of one of the toolkit's own stacks, as `vots2026/referral`; None for every other name.

    The toolkit itself also accepts files: those of a workspace, absolute paths, `../x`. Its YAML loader
    builds any Python object that a file names, so a stack file from elsewhere could run code.
    """
    return _stack_files().get(stack)


def check_referral_stack(source: Path, stack: str) -> None:
    """Raise UserError, which names the file `source`, where results cannot be packed for a stack.

    It must be one of the toolkit's own, with the experiment of the referral challenge as its only one.
    """
    if not _is_referral(stack_file(stack)):
        names = [name for name, path in _stack_files().items() if _is_referral(path)]
        raise UserError(
            f"{source}: stack={stack!a} is not one of the toolkit's stacks for referral results, and a "
            f"stack file of a workspace is never read; write stack: {' or '.join(names)}, or give pack=false"
        )


def _stack_files() -> dict[str, Path]:
    """The files of the toolkit's stacks, by name.

    They are found without importing the toolkit, which would take seconds.
    """
    found = find_spec("vot")
    assert found is not None and found.origin is not None, "vot-toolkit is one of the dependencies"
    folder = Path(found.origin).parent / "stack"
    files = sorted(folder.rglob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def _is_referral(path: Path | None) -> bool:
    experiments = read_yaml(path, "install vot-toolkit again").get("experiments") if path else None
    return (
        isinstance(experiments, dict)
        and list(experiments) == [EXPERIMENT]
        and isinstance(experiments[EXPERIMENT], dict)
        and experiments[EXPERIMENT].get("type") == "referral"
    )


# `vot.tracker.VALID_IDENTIFIER`. In an ini file the section DEFAULT applies to all sections.
IDENTIFIER = re.compile(r"[a-zA-Z0-9_-]+")
RESERVED = ("DEFAULT",)


def check_tracker_id(tracker_id: str) -> None:
    """Raise UserError where the toolkit would not accept `tracker_id` as the name of a tracker."""
    if not IDENTIFIER.fullmatch(tracker_id) or tracker_id in RESERVED:
        detail = f"tracker_id={tracker_id!r} is not a name that the toolkit accepts"
        raise UserError(f"{detail}; use letters, digits, '-' and '_' (and not DEFAULT)")


def ensure_tracker(path: Path, tracker_id: str, label: str | None = None) -> bool:
    """Add a section for `tracker_id` to trackers.ini, with all the keys that the toolkit requires.

    Every other byte of the file stays the same, and existing keys keep their values. Returns whether the
    file was changed. Raises UserError where the name is not valid or the file is not an ini file.
    """
    check_tracker_id(tracker_id)
    # Latin-1 maps every byte to a character and back, whatever the encoding of the file is.
    # The toolkit's parser interpolates values, so a single `%` in the label would be an error: it is doubled.
    shown = " ".join((label or tracker_id).split()).replace("%", "%%").encode().decode("latin-1")
    wanted = {"label": shown, "protocol": "trax", "command": "dummy"}
    before = read_bytes(path, "restore it").decode("latin-1") if path.exists() else ""
    held = sections(path, before)
    missing = {key: value for key, value in wanted.items() if key not in held.get(tracker_id, {})}
    if not missing and tracker_id in held:
        return False
    # The line ends of the file are kept.
    new_line = "\r\n" if "\r\n" in before else "\n"
    lines = "".join(f"{key} = {value}{new_line}" for key, value in missing.items())
    after = _inserted(before, tracker_id, lines) if tracker_id in held else None
    if after is None:
        after = _appended(before, f"[{tracker_id}]{new_line}{lines}", new_line)
    _check_others(path, held, sections(path, after), tracker_id)
    write_whole(path, after.encode("latin-1"))
    return True


def sections(path: Path, text: str) -> dict[str, dict[str, str]]:
    """The sections of an ini text as the toolkit reads them. Raises UserError naming `path`."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as fault:
        reason = " ".join(fault.message.replace("<string>", path.name).split())
        raise UserError(f"{path}: not an ini file ({reason}); correct the file") from None
    return {name: dict(parser[name]) for name in parser.sections()}


def _inserted(text: str, tracker_id: str, lines: str) -> str | None:
    """`text` with `lines` put below the header of the section; None where its header is not found."""
    header = re.compile(rf"^[ \t]*\[{re.escape(tracker_id)}\][^\r\n]*(\r?\n|$)", re.MULTILINE)
    match = header.search(text)
    if match is None:
        return None
    # The header may be the last line of the file, without a line end.
    gap = "" if match[1] else "\n"
    return text[: match.end()] + gap + lines + text[match.end() :]


def _appended(text: str, section: str, new_line: str) -> str:
    """`text` with a section at its end, after an empty line."""
    gap = "" if not text else new_line if text.endswith("\n") else 2 * new_line
    return text + gap + section


def _check_others(
    path: Path, before: dict[str, dict[str, str]], after: dict[str, dict[str, str]], mine: str
) -> None:
    """Raise UserError where adding a section would change what another one says (an odd layout)."""
    others = [{name: keys for name, keys in held.items() if name != mine} for held in (before, after)]
    if others[0] != others[1] or not {"label", "protocol", "command"} <= after.get(mine, {}).keys():
        keys = "label, protocol = trax and command = dummy"
        raise UserError(f"{path}: section [{mine}] cannot be completed; give it {keys} by hand")
