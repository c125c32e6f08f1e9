"""From overrides to checked settings. All mistakes are found here, before anything heavy is imported.

A configuration is composed in two passes, because the keys that exist depend on the options that are chosen
(`tracker=per_frame` has other keys than `tracker=referral`). The first pass takes only the overrides that
choose options. With the keys of that configuration the remaining overrides are checked, and free text is
quoted. The second pass composes with all overrides.
"""

import dataclasses
import itertools
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from configs.command_line import CommandLine, check_list, key_of, quote_text, value_of, values_of
from configs.errors import UserError, did_you_mean
from configs.registry import known_to_hydra
from configs.renamed_keys import current_name
from configs.schema import Key, keys_of, without_none


@dataclass(frozen=True)
class Composer:
    """Composes one command's configuration; made by `composer`."""

    command: str

    def jobs(self, line: CommandLine) -> tuple[list[str], list[DictConfig]]:
        """The overrides in the form that Hydra parses, and the composed configuration of every job.

        Each configuration contains Hydra's own node too. Raises UserError for an override whose key does not
        exist, whose value cannot be parsed, or whose value has the wrong type.
        """
        # 1. First pass: the options of groups alone (one configuration for each combination of a sweep).
        bases = [self._compose(choice) for choice in _product(self._group_overrides(line))]
        # 2. Check the keys of all overrides against those configurations, and quote free text.
        overrides = [self._readable(override, bases, line.multirun) for override in line.overrides]
        # 3. Second pass: one configuration for each job.
        jobs = _product([values_of(one, multirun=line.multirun) for one in overrides])
        return overrides, [self._compose(job) for job in jobs]

    def options(self, group: str) -> list[str]:
        """The options of a group in alphabetical order. The list is empty where no such group exists."""
        loader = GlobalHydra.instance().config_loader()
        return sorted(loader.get_group_options(group, ObjectType.CONFIG))

    def _group_overrides(self, line: CommandLine) -> list[list[str]]:
        """The overrides that choose an option of a group, each expanded into its values. All are checked."""
        chosen = []
        for override in line.overrides:
            options = self.options(key_of(override))
            if not options or override.startswith("~"):
                continue
            chosen.append(values_of(override, multirun=line.multirun))
            for value in map(value_of, chosen[-1]):
                _check_option(key_of(override), value, options)
        return chosen

    def _readable(self, override: str, bases: Sequence[DictConfig], multirun: bool) -> str:
        """An override in the form that Hydra parses. Raises UserError for a key that does not exist."""
        name = key_of(override)
        # 1. Hydra's own keys and the options of groups are left to Hydra.
        if name.startswith(("hydra.", "hydra/")) or self.options(name):
            return override
        # 2. The key must exist in one of the configurations, or lie inside a key that holds a list or dict.
        keys = {key.name: key for base in bases for key in _resolved_keys(base)}
        if name not in keys and not _inside(name, keys):
            raise self._no_such_key(name, keys, bases[0])
        # 3. Quote free text, check the brackets of lists, and force new entries of dicts.
        if name in keys and keys[name].is_text and "=" in override:
            return quote_text(override, optional=keys[name].optional, multirun=multirun)
        if name in keys and keys[name].is_list and "=" in override:
            # In a multirun `evaluate=[a],[b]` sweeps over two lists, each of which must have brackets.
            for one in values_of(override, multirun=True) if multirun else [override]:
                check_list(one)
        for key in keys.values():
            if key.is_dict and f"{name}.".startswith(f"{key.name}."):
                return _of_dict(override, key, multirun)
        return override

    def _no_such_key(self, name: str, keys: dict[str, Key], base: DictConfig) -> UserError:
        """What to do about an override whose key does not exist."""
        new_name = current_name(name)
        if new_name != name and (new_name in keys or _inside(new_name, keys)):
            return UserError(f"{name}: has a new name; write {new_name}=")
        # An option of a group that has not been chosen yet may have this key, so the group comes first.
        for key in keys.values():
            if key.value == "???" and self.options(key.name):
                key.check()
        names = [*base.hydra.runtime.choices, *keys]
        return UserError(f"{name}: no such key{did_you_mean(name, names) or ' (--help lists the keys)'}")

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        try:
            # Hydra's own node is included: it names the chosen options (`hydra.runtime.choices`).
            return hydra.compose(self.command, overrides=list(overrides), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as fault:
            raise UserError(one_line(fault, overrides)) from None


@contextmanager
def composer(command: str, folder: Path) -> Iterator[Composer]:
    """A context with a composer of the configuration `<folder>/<command>.yaml`."""
    with known_to_hydra(command), hydra.initialize_config_dir(str(folder), version_base="1.3"):
        yield Composer(command)


def check(config: DictConfig) -> None:
    """Raise UserError where a composed configuration lacks a required key or has a value out of bounds."""
    for key in _resolved_keys(config):
        key.check()
    as_settings(config)


def as_settings(config: DictConfig) -> Any:
    """The settings object (a dataclass) of a composed configuration.

    Raises UserError where a dataclass refuses its values.
    """
    plain = config.copy()
    # Hydra returns configurations in struct mode, in which no key can be removed.
    with flag_override(plain, ["struct", "readonly"], [False, False]):
        plain.pop("hydra", None)  # Hydra's own node belongs to no dataclass
    try:
        return _with_tuples(OmegaConf.to_object(plain))
    except MissingMandatoryValue as fault:
        raise UserError(f"{fault.full_key}: this key is required; give {fault.full_key}=...") from None
    except OmegaConfBaseException as fault:
        raise UserError(one_line(fault)) from None


def one_line(fault: Exception, overrides: Sequence[str] = ()) -> str:
    """The message of an error of Hydra or OmegaConf, as one line that names the override or key at fault."""
    # The first line of Hydra's message names the override. The cause of the exception says what is wrong.
    cause = fault.__cause__ or fault
    # Hydra appends the override in one of two forms, depending on the kind of the error.
    ends = {one: (f"override {one}", f"override '{key_of(one)}'.") for one in overrides}
    first = str(fault).splitlines()[0] if str(fault) else ""
    culprit = next((one for one in overrides if first.endswith(ends[one])), None)
    if culprit and isinstance(cause, ConfigKeyError) and dataclasses.is_dataclass(cause.object_type):
        names = [field.name for field in dataclasses.fields(cause.object_type)]
        return f"{culprit}: {cause.key}: no such key{did_you_mean(str(cause.key), names)}"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    # OmegaConf adds lines such as `full_key: ...`; the key is put in front of the message instead.
    said = " ".join(line for line in lines[:2] if not line.startswith("full_key"))
    name = culprit or getattr(cause, "full_key", None)
    return f"{name}: {said}" if name else said


def _check_option(group: str, value: str, options: list[str]) -> None:
    if value not in options:
        # Hydra names the launchers of plugins that are not installed in its documentation, so users try them.
        if group == "hydra/launcher" and value.startswith("submitit"):
            raise UserError(f"{group}={value}: is not installed; pip install hydra-submitit-launcher")
        hint = did_you_mean(value, options)
        raise UserError(f"{group}={value}: no such option of {group}{hint} (there are: {', '.join(options)})")


def _resolved_keys(config: DictConfig) -> list[Key]:
    try:
        return list(keys_of(config))
    except OmegaConfBaseException as fault:
        raise UserError(one_line(fault)) from None


def _inside(name: str, keys: dict[str, Key]) -> bool:
    """Whether a name is that of a section, or of an entry of a key that holds a dict or a list."""
    return any(key.startswith(name + ".") or name.startswith(key + ".") for key in keys)


def _of_dict(override: str, key: Key, multirun: bool) -> str:
    """An override of a dict or of one of its entries. Hydra adds new entries only with the prefix `++`."""
    forced = override if override[0] in "+~" else f"++{override}"
    is_text = typing.get_args(key.kind)[1] is str and key_of(override) != key.name
    return quote_text(forced, optional=False, multirun=multirun) if is_text and "=" in forced else forced


def _product(values: list[list[str]]) -> list[list[str]]:
    return [list(job) for job in itertools.product(*values)]


def _with_tuples(value: Any, kind: Any = None) -> Any:
    """Settings with a tuple wherever the schema (`kind`) says tuple: OmegaConf returns lists for them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = typing.get_type_hints(type(value))
        parts = {name: _with_tuples(getattr(value, name), hints[name]) for name in hints}
        # `replace` and no assignment, since the dataclasses of settings are frozen.
        return dataclasses.replace(value, **parts)
    if isinstance(value, list):
        # Dataclasses among the entries know the types of their own fields, so no type is passed on.
        parts_in_order = [_with_tuples(part) for part in value]
        return tuple(parts_in_order) if typing.get_origin(without_none(kind)) is tuple else parts_in_order
    return value
