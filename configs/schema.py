"""Declaration of configuration keys: documentation, allowed values and bounds.

Every key of every configuration is declared with `key`. So `--help` prints its description, a wrong value is
refused before anything heavy is imported, and a test fails for a key without a description.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError

from configs.errors import UserError, did_you_mean

Choices = tuple[str, ...] | Callable[[], Iterable[str]]


def key(
    default: Any,
    doc: str,
    *,
    choices: Choices = (),
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declare one configuration key, with its default and the description that `--help` prints.

    `choices` are the allowed values (of a list: of each entry), where `cuda:N` allows any number in place of
    `N`. If it is a function, the function is called whenever a configuration is composed; use that for names
    that a plugin may add. `minimum` and `maximum` are inclusive bounds of a number.

    A default that is a `list`, `dict` or dataclass instance is copied for each new object, as dataclasses
    require. With `omegaconf.MISSING` as default the user must give a value.
    """
    # The metadata of the field carry everything; dataclasses themselves ignore them.
    metadata = {"doc": doc, "choices": choices, "minimum": minimum, "maximum": maximum}
    if isinstance(default, list | dict):  # they cannot be hashed, so the hash of settings leaves them out
        return dataclasses.field(default_factory=_copier(default), metadata=metadata, hash=False)
    if dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=_copier(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _copier(default: Any) -> Callable[[], Any]:
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        return lambda: dataclasses.replace(default)
    return lambda: type(default)(default)


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of a composed configuration: its dotted name, its declaration and its current value."""

    name: str
    kind: Any
    value: Any
    doc: str
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None

    @property
    def is_text(self) -> bool:
        """Whether the value is free text: `str` or `str | None`."""
        return without_none(self.kind) is str

    @property
    def is_list(self) -> bool:
        """Whether the value is a list or a tuple."""
        return typing.get_origin(without_none(self.kind)) in (list, tuple)

    @property
    def is_dict(self) -> bool:
        """Whether the value is a dict, whose entries the user names."""
        return typing.get_origin(self.kind) is dict

    @property
    def optional(self) -> bool:
        """Whether `null` is a value of this key."""
        return type(None) in typing.get_args(self.kind)

    @property
    def kind_name(self) -> str:
        """The type as `--help` shows it, for example `int` or `str or null`."""
        plain = without_none(self.kind)
        name = plain.__name__ if isinstance(plain, type) and not typing.get_args(plain) else str(plain)
        return f"{name} or null" if self.optional else name

    def check(self) -> None:
        """Raise UserError where the value is missing, not among the choices, or out of bounds."""
        if self.value == "???":
            raise UserError(
                f"{self.name}: this key is required; give {self.name}={'|'.join(self.choices) or '...'}"
            )
        for value in self.value if isinstance(self.value, list) else [self.value]:
            if value is not None:
                self._check_one(value)

    def _check_one(self, value: Any) -> None:
        if self.choices and not any(_is_choice(value, choice) for choice in self.choices):
            hint = did_you_mean(str(value), self.choices)
            raise UserError(f"{self.name}={value}: must be one of {', '.join(self.choices)}{hint}")
        if isinstance(value, float) and math.isnan(value):  # a comparison with a bound would be false
            raise UserError(f"{self.name}={value}: must be a number")
        if self.minimum is not None and value < self.minimum:
            raise UserError(f"{self.name}={value}: must be at least {self.minimum}")
        if self.maximum is not None and value > self.maximum:
            raise UserError(f"{self.name}={value}: must be at most {self.maximum}")


def _is_choice(value: Any, choice: str) -> bool:
    if choice.endswith(":N") and isinstance(value, str):
        return re.fullmatch(re.escape(choice[:-1]) + "[0-9]{1,3}", value) is not None
    return bool(value == choice)


def keys_of(config: DictConfig, prefix: str = "") -> Iterator[Key]:
    """Yield the keys of a configuration that was composed from dataclasses, in the order of their fields.

    Raises an error of OmegaConf where a value refers to a key that does not exist.
    """
    for name, field, kind in _fields(config):
        # A field that holds dataclasses is a section: its own keys are listed instead of the field.
        sections = dict(_sections(config, name))
        for path, section in sections.items():
            yield from keys_of(section, f"{prefix}{path}.")
        if not sections:
            yield Key(prefix + name, kind, _plain_value(config, name), **_declared(field))


def sections_of(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the documentation of every nested dataclass, outer ones first."""
    for name, field, _ in _fields(config):
        for path, section in _sections(config, name):
            yield prefix + path, _declared(field)["doc"]
            yield from sections_of(section, f"{prefix}{path}.")


def _fields(config: DictConfig) -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """The name, field and type of each field of the dataclass that `config` was made from."""
    schema = OmegaConf.get_type(config)
    assert schema is not None and dataclasses.is_dataclass(schema), "a configuration without a schema"
    # `field.type` is a string in modules with postponed annotations; `get_type_hints` resolves it.
    hints = typing.get_type_hints(schema)
    return ((field.name, field, hints[field.name]) for field in dataclasses.fields(schema))


def _sections(config: DictConfig, name: str) -> Iterator[tuple[str, DictConfig]]:
    """The dataclasses in a field, by their dotted names: its value, or the entries of its list."""
    node = _value(config, name)
    entries = (
        {f"{name}.{i}": entry for i, entry in enumerate(node)}
        if isinstance(node, ListConfig)
        else {name: node}
    )
    for path, entry in entries.items():
        if isinstance(entry, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(entry)):
            yield path, entry


def _declared(field: dataclasses.Field[Any]) -> dict[str, Any]:
    """The arguments of `key` for a field. They are empty for a field that was declared without it."""
    blank = {"doc": "", "choices": (), "minimum": None, "maximum": None}
    declared = {name: field.metadata.get(name, empty) for name, empty in blank.items()}
    # Choices that are a function are computed now, after plugins have registered theirs.
    choices: Choices = declared["choices"]
    return declared | {"choices": tuple(choices()) if callable(choices) else choices}


def _value(config: DictConfig, name: str) -> Any:
    """The value of a key. It is `???` where it is missing, and `${...}` where it refers to a missing one."""
    try:
        return "???" if OmegaConf.is_missing(config, name) else config[name]
    except InterpolationToMissingValueError:  # an error is raised for the missing key itself
        return dict(config.items_ex(resolve=False))[name]


def _plain_value(config: DictConfig, name: str) -> Any:
    value = _value(config, name)
    return (
        OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value
    )


def without_none(kind: Any) -> Any:
    """The type `X` of `X | None`. Any other type is returned unchanged."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(kind) if part is not type(None)]
        return rest[0] if len(rest) == 1 else kind
    return kind
