"""The registry of recipes: the options of `recipe=`, and the function that trains each of them.

A recipe is one file. It defines a frozen dataclass of its settings with the keys of
`train.loop.objective.LoopSettings`, and a function that trains it in one process:

    @register_recipe(my_recipe=MyRecipe())
    def train_my_recipe(recipe: MyRecipe, out: Path, device: torch.device) -> None:
        train_in_one_process(partial(MyObjective, recipe), recipe, out, device)

A file elsewhere registers its recipe when it is imported, which `plugins=[my_recipe.py]` does. The recipes of
this project are registered by name in `train.config`, so that `--help` does not import torch.
"""

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from configs.errors import UserError

Function = TypeVar("Function", bound=Callable[..., None])

_functions: dict[type, tuple[str, str]] = {}  # module and name of the function, by class of settings
_options: dict[str, Any] = {}  # settings by option of `recipe=`

RECIPES: Mapping[str, Any] = MappingProxyType(_options)
"""The settings of every registered recipe, by its option of `recipe=`. This is a live view."""


def register_recipe(**options: Any) -> Callable[[Function], Function]:
    """Register the decorated function as the one that trains the given options of `recipe=`.

    The function takes the settings, the folder of the run and the device. Raises ValueError if another class
    has registered an option of the same name.
    """

    def register(function: Function) -> Function:
        add_recipes(function.__module__, function.__name__, **options)
        return function

    return register


def add_recipes(module: str, function: str, **options: Any) -> None:
    """Register options by the name of their function, which is imported when a recipe is trained."""
    for name, settings in options.items():
        # Compare by name: a module that is imported again has new classes with the old names.
        other = _options.get(name, settings)
        if (type(other).__module__, type(other).__qualname__) != (
            type(settings).__module__,
            type(settings).__qualname__,
        ):
            raise ValueError(
                f"recipe={name} is registered by {type(other)} and by {type(settings)}; rename one"
            )
        _options[name] = settings
        _functions[type(settings)] = module, function


def module_of(recipe: Any) -> str:
    """The module whose function trains a recipe. Raises UserError if its class is not registered."""
    if type(recipe) not in _functions:
        raise UserError(f"recipe={recipe!r}: no recipe is registered for {type(recipe).__name__}")
    return _functions[type(recipe)][0]


def function_of(recipe: Any) -> Callable[..., None]:
    """The function that trains a recipe. Raises UserError as `module_of` does."""
    module = importlib.import_module(module_of(recipe))
    function: Callable[..., None] = getattr(module, _functions[type(recipe)][1])
    return function
