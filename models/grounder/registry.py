"""The registry of grounders: which options `model=` has, and who loads the grounder of an option.

A grounder is one file. It defines a frozen dataclass of its settings, a subclass of
`models.config.GroundingConfig`, and registers the function that loads it:

    @dataclass(frozen=True)
    class MyConfig(GroundingConfig):
        num_queries: int = key(100, "boxes that the detector proposes", minimum=1)

    @register_grounder(my_grounder=MyConfig(checkpoint="owner/name"))
    def load_my_grounder(config: MyConfig, device: torch.device) -> Grounding:
        ...

What the function returns has the methods of `models.interfaces.Grounding` and needs no base class. The file
is registered when it is imported, which must happen before the settings are composed
(`plugins=[my_grounder.py]`). A grounder of this project is registered in `models/config.py`, so that `--help`
imports no torch. Its function imports the module that does.

The published sizes of the families of multimodal LLMs (`models.families`) are options of `model=` too. Their
settings are of the class `GrounderConfig`, so they are loaded by the function that is registered for it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from configs.extensions import OptionRegistry
from models.families.family import PUBLISHED_SIZES, RESERVED_OPTIONS
from models.interfaces import Grounding

Config = TypeVar("Config")
Loader = Callable[[Config, Any], Grounding]  # the second argument is a torch.device
Check = Callable[[Any], None]

# Per class of settings: the function that loads the grounder, and the one that checks the settings or None.
# They are apart because the check runs before torch is imported.
REGISTERED: OptionRegistry[tuple[Loader[Any], Check | None]] = OptionRegistry("model")
"""The settings of every registered grounder by its option of `model=`, without the sizes of families."""


def register_grounder(
    check: Callable[[Config], None] | None = None, **options: Config
) -> Callable[[Loader[Config]], Loader[Config]]:
    """Register the decorated function as the one that loads the given options of `model=`.

    `check(config)` raises UserError for what is wrong with the settings or the checkpoint's folder; it runs
    before torch is imported. Raises TypeError if the options are not objects of one dataclass, and ValueError
    if the name of an option is taken by another class or by a published size of a family.
    """

    def register(loader: Loader[Config]) -> Loader[Config]:
        for name in options:
            if name in PUBLISHED_SIZES:
                family = PUBLISHED_SIZES[name].model_type
                raise ValueError(f"model={name} is a size of {family} already; give it another name")
        REGISTERED.register_options((loader, check), options)
        RESERVED_OPTIONS.update(options)
        return loader

    return register


def check_grounder(config: Any) -> None:
    """Refuse what is wrong with a grounder's settings before any weight is loaded. Raises UserError."""
    _, check = REGISTERED.target_of(config)
    if check is not None:
        check(config)


def load_grounder(config: Any, device: Any) -> Grounding:
    """Load the grounder of these settings on a torch device.

    Raises UserError where its checkpoint cannot be loaded, and where no grounder is registered for the class
    of the settings.
    """
    loader, _ = REGISTERED.target_of(config)
    return loader(config, device)
