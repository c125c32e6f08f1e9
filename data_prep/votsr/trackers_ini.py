"""trackers.ini: the toolkit knows a tracker only if it has a section there."""

import configparser
import re
from pathlib import Path

from configs.errors import UserError
from data_prep.files import read_bytes, write_whole

# `vot.tracker.VALID_IDENTIFIER`; a section of the name DEFAULT means all sections to an ini file
IDENTIFIER = re.compile(r"[a-zA-Z0-9_-]+")
RESERVED = ("DEFAULT",)


def check_tracker_id(tracker_id: str) -> None:
    """Raise UserError where the toolkit would not take `tracker_id` for the name of a tracker."""
    if not IDENTIFIER.fullmatch(tracker_id) or tracker_id in RESERVED:
        told = f"tracker_id={tracker_id!r} is no name that the toolkit takes"
        raise UserError(f"{told}; use letters, digits, '-' and '_' (and not DEFAULT)")


def ensure_tracker(path: Path, tracker_id: str, label: str | None = None) -> bool:
    """Give trackers.ini a section for `tracker_id` with all the keys that the toolkit asks for.

    Every other byte stays as it is, and keys that the section has keep their values. Returns whether
    the file was changed. Raises UserError where the name is not valid or the file is no ini file.
    """
    check_tracker_id(tracker_id)
    # Latin-1 gives every byte a character and back again, whatever the file's encoding.
    shown = " ".join((label or tracker_id).split()).replace("%", "%%").encode().decode("latin-1")
    wanted = {"label": shown, "protocol": "trax", "command": "dummy"}
    before = read_bytes(path, "restore it").decode("latin-1") if path.exists() else ""
    held = sections(path, before)
    missing = {key: value for key, value in wanted.items() if key not in held.get(tracker_id, {})}
    if not missing and tracker_id in held:
        return False
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
        raise UserError(f"{path}: not an ini file ({reason}); mend the file") from None
    return {name: dict(parser[name]) for name in parser.sections()}


def _inserted(text: str, tracker_id: str, lines: str) -> str | None:
    """`text` with `lines` put below the header of the section; None where its header is not found."""
    header = re.compile(rf"^[ \t]*\[{re.escape(tracker_id)}\][^\r\n]*(\r?\n|$)", re.MULTILINE)
    match = header.search(text)
    if match is None:
        return None
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
