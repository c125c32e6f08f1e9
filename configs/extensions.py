"""Registries of what a file can add: data sets, protocols, trackers, mask heads, recipes, ...

A registry is a mapping of names that grows while files are imported. Its own package is listed, so a new file
there needs no entry elsewhere; a file outside of it is imported by `plugins=` (`configs.plugins`). A registry
is a live view: Hydra reads the options of a group when a configuration is composed, after the plugins.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from configs.errors import UserError

Value = TypeVar("Value")
Target = TypeVar("Target")


class Registry(Mapping[str, Value]):
    """The registered values by name.

    `key` is the configuration key whose value is a name. `package` is the dotted name of the package whose
    modules register values; empty if modules are imported in another way.
    """

    def __init__(self, key: str, package: str = "") -> None:
        self.key, self.package = key, package
        self._values: dict[str, Value] = {}
        self._owners: dict[str, object] = {}

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def register(self, name: str, value: Value, owner: object) -> None:
        """Add a value. `owner` says who defines it: the name of a module or class, or the value itself.

        A value with an equal owner is replaced, because a file may be imported twice. Raises ValueError if
        the name belongs to another owner: one of two files would silently replace the other.
        """
        held = self._owners.get(name, owner)
        if held != owner:
            both = f" by {held}, and now by {owner}" if isinstance(owner, str) else ""
            raise ValueError(f"{self.key}={name} is registered already{both}; rename one of them")
        self._values[name], self._owners[name] = value, owner

    def load_package(self) -> None:
        """Import every module of the package, so that its values are registered."""
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__, f"{self.package}."):
            importlib.import_module(module.name)


class OptionRegistry(Registry[Any], Generic[Target]):
    """The options of a Hydra group: settings by name, and for each class of settings what it stands for.

    The settings of an option are an object of a dataclass, whose class identifies a target (the function that
    builds a tracker, for example). Several options may share a class and so a target.
    """

    def __init__(self, key: str, package: str = "") -> None:
        super().__init__(key, package)
        self._targets: dict[type, Target] = {}

    def register_options(self, target: Target, options: Mapping[str, Any]) -> None:
        """Add options with one target.

        Raises TypeError if they are not objects of one dataclass, and ValueError if the name of one belongs
        to another class of settings.
        """
        classes = {type(settings) for settings in options.values()}
        if len(classes) != 1 or not all(map(dataclasses.is_dataclass, classes)):
            raise TypeError(f"{self.key}: the options {', '.join(options)} must be objects of one dataclass")
        (settings_class,) = classes
        # The owner is a name: a module that is imported again has new classes with the old names.
        owner = f"{settings_class.__module__}.{settings_class.__qualname__}"
        for name, settings in options.items():
            self.register(name, settings, owner)
        self._targets[settings_class] = target

    def target_of(self, settings: Any) -> Target:
        """What the class of these settings was registered with. Raises UserError if it was not registered."""
        if type(settings) not in self._targets:
            raise UserError(
                f"{self.key}={settings!r}: no {self.key} is registered for {type(settings).__name__}"
            )
        return self._targets[type(settings)]
