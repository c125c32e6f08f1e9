"""The registry of trackers: the options of `tracker=`, and the function that builds the tracker of each.

A tracker is one file. It defines a frozen dataclass of its settings, and a function that builds the tracker
from them. A decorator registers both:

    @dataclass(frozen=True)
    class MyConfig:
        threshold: float = key(0.5, "visible probability from which the target counts as visible")

    @register_tracker(my_tracker=MyConfig())
    def my_tracker(config: MyConfig, contract: Contract) -> Tracker:
        def start(expression: str, frame: np.ndarray, box_xyxy: Box | None = None) -> Track:
            ...  # a generator, see `infer.trackers.requests`
        return start

Files in `infer/trackers/` are found by listing the package. A file elsewhere registers its tracker when it is
imported, which `plugins=[my_tracker.py]` does. A tracker file must not import torch or transformers, because
`python -m infer --help` imports all trackers.
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
from infer.trackers.requests import Tracker

Config = TypeVar("Config")
BuilderOf = Callable[[Config, Contract], Tracker]
Builder = Callable[[Any, Contract], Tracker]

_builders: dict[type, Builder] = {}  # by class of settings
_options: dict[str, Any] = {}  # settings by option of `tracker=`

TRACKERS: Mapping[str, Any] = MappingProxyType(_options)
"""The settings of every registered tracker, by its option of `tracker=`.

This is a live view. Hydra reads it when the settings of a command are composed, so trackers of plugins, which
are imported just before, are options too.
"""


def register_tracker(**options: Config) -> Callable[[BuilderOf[Config]], BuilderOf[Config]]:
    """Register the decorated function as the builder of the given options of `tracker=`.

    The options of one call are objects of one dataclass, and each dataclass belongs to one builder. A module
    that is imported again replaces its own registration.

    Raises TypeError if the options are not objects of one dataclass, and ValueError if another class has
    registered an option of the same name.
    """
    # A class of settings identifies its tracker (see `build_tracker`), so the options must share one.
    classes = {type(config) for config in options.values()}
    if len(classes) != 1 or not all(dataclasses.is_dataclass(each) for each in classes):
        raise TypeError("register_tracker takes one or more options that are objects of one dataclass")
    (config_class,) = classes

    def register(builder: BuilderOf[Config]) -> BuilderOf[Config]:
        # Compare by name: a module that is imported again has new classes with the old names.
        for name in options:
            other = type(_options.get(name, options[name]))
            if _full_name(other) != _full_name(config_class):
                raise ValueError(
                    f"tracker={name} is registered by {_full_name(other)} and by {_full_name(config_class)}; "
                    "rename one of them"
                )
        _options.update(options)
        _builders[config_class] = builder
        return builder

    return register


def load_trackers() -> None:
    """Import every module of `infer.trackers`, which registers its trackers."""
    # The package is listed, so that a new tracker needs no entry in another file.
    for module in pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}."):
        importlib.import_module(module.name)


def build_tracker(config: Any, contract: Contract) -> Tracker:
    """The tracker of these settings.

    `contract` is that of the grounder that will answer: a tracker cuts its templates as the contract says.
    Raises UserError if no tracker is registered for the class of `config`.
    """
    builder = _builders.get(type(config))
    if builder is None:
        raise UserError(f"tracker={config!r}: no tracker is registered for {type(config).__name__}")
    return builder(config, contract)


def _full_name(config_class: type) -> str:
    return f"{config_class.__module__}.{config_class.__qualname__}"
