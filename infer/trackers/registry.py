"""The registry of trackers: which options `tracker=` has, and who builds the tracker of an option.

A tracker is one file. It defines a frozen dataclass of its settings and registers the function that builds
the tracker:

    @dataclass(frozen=True)
    class MyConfig:
        threshold: float = key(0.5, "visible probability from which the target counts as visible")

    @register_tracker(my_tracker=MyConfig())
    def my_tracker(config: MyConfig, contract: Contract) -> StartTrack:
        ...

Files in `infer/trackers/` are found by listing the package (`load_trackers`). A file elsewhere is registered
when it is imported; that must happen before the settings are composed. No tracker file imports torch or
transformers, since `--help` imports all of them.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from configs.errors import UserError
from data_prep.contract.contract import Contract
from infer.trackers.requests import StartTrack

Config = TypeVar("Config")
Builder = Callable[[Any, Contract], StartTrack]
BuilderOf = Callable[[Config, Contract], StartTrack]

_builders: dict[type, Builder] = {}  # by the class of the settings
_options: dict[str, Any] = {}  # settings by the option of `tracker=`

TRACKERS: Mapping[str, Any] = MappingProxyType(_options)
"""The settings of every registered tracker, by its option of `tracker=`. A live view: later registrations
appear in it, so Hydra sees every tracker that is registered before the settings are composed."""


def register_tracker(**options: Config) -> Callable[[BuilderOf[Config]], BuilderOf[Config]]:
    """Register the decorated function as the builder of the given options of `tracker=`.

    All options are objects of one frozen dataclass. The same file may be imported twice (its later builder
    counts); the same option in two files is a ValueError.
    """
    classes = {type(config) for config in options.values()}
    if len(classes) != 1 or not all(dataclasses.is_dataclass(each) for each in classes):
        raise TypeError(f"the options {', '.join(options)} must be objects of one dataclass of settings")
    (config_class,) = classes

    def register(builder: BuilderOf[Config]) -> BuilderOf[Config]:
        for name in options:
            held = _options.get(name)
            if held is not None and _origin(type(held)) != _origin(config_class):
                raise ValueError(
                    f"tracker={name} is defined by both {type(held).__module__} and {config_class.__module__}"
                )
        _options.update(options)
        _builders[config_class] = builder
        return builder

    return register


def load_trackers() -> None:
    """Import every module of `infer.trackers`, so that its trackers are registered."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}."):
        importlib.import_module(module.name)


def build_tracker(config: Any, contract: Contract) -> StartTrack:
    """The tracker of these settings, for a grounder that is asked by `contract`.

    Raises UserError where no tracker is registered for their class.
    """
    builder = _builders.get(type(config))
    if builder is None:
        raise UserError(f"tracker={config!r}: no tracker is registered for {type(config).__name__}")
    return builder(config, contract)


def _origin(config_class: type) -> tuple[str, str]:
    return config_class.__module__, config_class.__qualname__
