"""Reading a command line: flags, overrides, and free text that Hydra's grammar cannot parse.

Hydra parses the value of each override with a grammar in which commas, brackets, quotes and `=` have a
meaning. An expression such as `prompt=the cup, left of the ball` is free text, so the values of text keys are
quoted here before Hydra sees them.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.utils import get_args_parser  # Hydra has no public function for its flags
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from configs.errors import UserError, did_you_mean

QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
LIST = re.compile(r"\[|\$\{|\w+\(")  # [a,b] or ${key} or extend_list(a)
SWEEP = re.compile(r",|^\w+\(.*\)$", re.DOTALL)  # a,b or range(3) or choice(a, b)


@dataclass(frozen=True)
class CommandLine:
    """The arguments of a command: `key=value` overrides, and Hydra's flags as they were given."""

    overrides: tuple[str, ...]
    flags: tuple[str, ...]
    wants_help: bool
    multirun: bool


def read_command_line(arguments: Sequence[str]) -> CommandLine:
    """Split arguments into overrides and flags.

    Raises UserError for an unknown flag, and for an argument that is neither a flag nor `key=value`.
    """
    for word in arguments:
        _check_utf8(word)
    parser = get_args_parser()
    parser.exit_on_error = False  # else argparse prints its usage, which shows none of our keys
    try:
        # Intermixed: overrides are positional arguments of Hydra's parser, and flags may stand between them.
        parsed, unknown = parser.parse_known_intermixed_args(list(arguments))
    except argparse.ArgumentError as fault:
        raise UserError(str(fault)) from None
    if unknown:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        raise UserError(f"{unknown[0]}: no such flag{did_you_mean(unknown[0], flags)}")
    if parsed.multirun and (parsed.cfg or parsed.info):
        raise UserError("-m: runs jobs, so it goes neither with --cfg nor with --info; leave one out")
    overrides = list(parsed.overrides)
    for word in overrides:
        # `~key` deletes a key, so it needs no value.
        if "=" not in word and not word.startswith("~"):
            raise UserError(f"{word}: not of the form key=value (--help lists the keys)")
    # All words that are not overrides: the value of a flag (`--cfg job`) stays behind its flag.
    flags = [word for word in arguments if word not in overrides]
    return CommandLine(tuple(overrides), tuple(flags), parsed.help, parsed.multirun)


def _check_utf8(word: str) -> None:
    """Raise UserError for an argument in another encoding than UTF-8.

    Python represents its bytes by surrogates, which cannot be written to the files that record the settings.
    """
    try:
        word.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{word}: is not UTF-8 text; type it in a terminal that writes UTF-8, or rename the file it names"
        ) from None


def key_of(override: str) -> str:
    """The dotted name of the key that an override sets, without `+`, `++`, `~` and `@package`."""
    return override.partition("=")[0].lstrip("+~").partition("@")[0]


def value_of(override: str) -> str:
    """The text after the first `=`."""
    return override.partition("=")[2]


def quote_text(override: str, *, optional: bool, multirun: bool) -> str:
    """An override of a text key with its value quoted, so that the value may hold any character.

    Three values are not changed: one that is quoted already, `null` where the key is optional, and in a
    multirun a list of values to sweep. `${...}` still refers to another key.
    """
    name, _, value = override.partition("=")
    if QUOTED.fullmatch(value) or (optional and value == "null") or (multirun and SWEEP.search(value)):
        return override
    # In a quoted value of Hydra a backslash is a plain character, except in front of a quote: there it is an
    # escape, so it is doubled.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    # Backslashes at the end of the value stand in front of the closing quote.
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"{name}='{escaped}'"


def check_list(override: str) -> None:
    """Raise UserError where the value of a list key has no brackets. `null` is left to Hydra's own check."""
    name, _, value = override.partition("=")
    if value == "null" or LIST.match(value.strip()):
        return
    raise UserError(f"{override}: is a list; write '{name}=[{value}]'")


def values_of(override: str, *, multirun: bool) -> list[str]:
    """The overrides that an override expands to: in a multirun, `seed=1,2` gives `seed=1` and `seed=2`.

    Raises UserError where Hydra's grammar cannot parse the value, and for several values without `-m`.
    """
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        raise UserError(f"{override}: the value cannot be read; put it in quotes: \"key='value'\"") from None
    if not parsed.is_sweep_override():
        return [override]
    if not multirun:
        raise UserError(f"{override}: several values; add -m to run each, or write [a,b] for a list")
    name = override.partition("=")[0]
    return [f"{name}={value}" for value in parsed.sweep_string_iterator()]
