"""The registry of backends: the options of `engine=`, and the function that opens the backend of each.

A backend is one file in this package. It defines a frozen dataclass of its settings, a subclass of
`infer.engine.config.EngineConfig`, and registers the function that opens it:

    @dataclass(frozen=True)
    class MyConfig(EngineConfig):
        url: str = key(MISSING, "address of the server")

    @register_backend(mine=MyConfig())
    def open_mine(settings: BackendSettings, device: torch.device) -> Grounding:
        ...

What the function returns has the methods of `models.interfaces.Grounding` and needs no base class. Entries of
its `identity()` become part of the fingerprint of results.

Files in this package are found by listing it. A file elsewhere registers its backend when it is imported,
which `plugins=[my_backend.py]` does. A backend file must not import torch or transformers outside of its
functions, because `python -m infer --help` imports all backends.
"""

from collections.abc import Callable
from typing import Any, Protocol

from configs.extensions import OptionRegistry
from infer.engine.config import EngineConfig
from models.config import GroundingConfig
from models.grounder.registry import check_grounder
from models.interfaces import Grounding


class BackendSettings(Protocol):
    """What a backend may read of the settings of a run (`infer.config.InferSettings`)."""

    @property
    def model(self) -> GroundingConfig:
        """The settings of the grounder."""
        ...

    @property
    def engine(self) -> EngineConfig:
        """The settings of the backend, an object of the class that it was registered with."""
        ...


Opener = Callable[[BackendSettings, Any], Grounding]  # the second argument is a torch.device
Check = Callable[[BackendSettings], None]


def _check_weights(settings: BackendSettings) -> None:
    check_grounder(settings.model)


# The opener and the check are apart because the check runs before torch is imported.
BACKENDS: OptionRegistry[tuple[Opener, Check]] = OptionRegistry("engine", __package__)
"""The settings of every registered backend, by its option of `engine=`."""


def register_backend(check: Check = _check_weights, **options: EngineConfig) -> Callable[[Opener], Opener]:
    """Register the decorated function as the one that opens the given options of `engine=`.

    `check(settings)` raises UserError for what is wrong with the settings or the checkpoint's folder; it runs
    before torch is imported. The default checks the folder of `model=` with its weights.

    Raises TypeError if the options are not objects of one dataclass, and ValueError if another class has
    registered an option of the same name.
    """

    def register(opener: Opener) -> Opener:
        BACKENDS.register_options((opener, check), options)
        return opener

    return register


def open_backend(settings: BackendSettings, device: Any) -> Grounding:
    """Open the backend of `settings.engine`.

    Raises UserError if it cannot be opened, and if no backend is registered for the class of the settings.
    """
    opener, _ = BACKENDS.target_of(settings.engine)
    return opener(settings, device)


def check_backend(settings: BackendSettings) -> None:
    """Refuse what is wrong with the settings of `engine=` and `model=` before torch is imported.

    Raises UserError.
    """
    _, check = BACKENDS.target_of(settings.engine)
    check(settings)
