"""The registry of mask heads: which options `mask_head=` has, and who loads the mask head of an option.

A mask head is one file. It defines a frozen dataclass of its settings, a subclass of
`models.config.MaskHeadConfig`, and registers the function that loads it:

    @dataclass(frozen=True)
    class MyConfig(MaskHeadConfig):
        num_memories: int = key(7, "frames that the memory holds", minimum=1)

    @register_mask_head(my_mask_head=MyConfig(checkpoint="owner/name"))
    def load_my_mask_head(config: MyConfig, device: torch.device) -> Masking:
        ...

What the function returns has the methods of `models.interfaces.Masking` and needs no base class. The file is
registered when it is imported, which must happen before the settings are composed (`plugins=[my_head.py]`).
A mask head of this project is registered in `models/config.py`, so that `--help` imports no torch. Its
function imports the module that does.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from configs.errors import UserError
from models.interfaces import Masking

Config = TypeVar("Config")
Loader = Callable[[Config, Any], Masking]  # the second argument is a torch.device

_loaders: dict[type, Loader[Any]] = {}  # by the class of the settings
_checks: dict[type, Callable[[Any], None]] = {}
_options: dict[str, Any] = {}  # settings by the option of `mask_head=`

MASK_HEADS: Mapping[str, Any] = MappingProxyType(_options)
"""The settings of every registered mask head, by its option of `mask_head=`. A live view: later registrations
appear in it, so Hydra sees every mask head that is registered before the settings are composed."""


def register_mask_head(
    check: Callable[[Config], None] | None = None, **options: Config
) -> Callable[[Loader[Config]], Loader[Config]]:
    """Register the decorated function as the one that loads the given options of `mask_head=`.

    All options are objects of one frozen dataclass. `check(config)` raises UserError for what is wrong with
    the settings or the checkpoint's folder; it runs before torch is imported. The same file may be imported
    twice (its later function counts); the same option in two files is a ValueError.
    """
    classes = {type(config) for config in options.values()}
    if len(classes) != 1 or not all(dataclasses.is_dataclass(each) for each in classes):
        raise TypeError(f"the options {', '.join(options)} must be objects of one dataclass of settings")
    (config_class,) = classes

    def register(loader: Loader[Config]) -> Loader[Config]:
        for name in options:
            # Classes are compared by name: a file that is imported twice defines its class twice.
            held = type(_options.get(name, options[name]))
            if (held.__module__, held.__qualname__) != (config_class.__module__, config_class.__qualname__):
                raise ValueError(
                    f"mask_head={name} is defined by both {held.__module__} and {config_class.__module__}"
                )
        _options.update(options)
        _loaders[config_class] = loader
        if check is not None:
            _checks[config_class] = check
        return loader

    return register


def check_mask_head(config: Any) -> None:
    """Refuse what is wrong with a mask head's settings before any weight is loaded. Raises UserError."""
    check = _checks.get(type(config))
    if check is not None:
        check(config)


def load_mask_head(config: Any, device: Any) -> Masking:
    """Load the mask head of these settings on a torch device.

    Raises UserError where its checkpoint cannot be loaded, and where no mask head is registered for the class
    of the settings.
    """
    loader = _loaders.get(type(config))
    if loader is None:
        raise UserError(f"mask_head={config!r}: no mask head is registered for {type(config).__name__}")
    return loader(config, device)
