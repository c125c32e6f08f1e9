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
from collections.abc import Callable
from typing import Any, TypeVar

from configs.extensions import OptionRegistry

Function = TypeVar("Function", bound=Callable[..., None])

# A target is the module and the name of a function.
RECIPES: OptionRegistry[tuple[str, str]] = OptionRegistry("recipe")
"""The settings of every registered recipe, by its option of `recipe=`."""


def register_recipe(**options: Any) -> Callable[[Function], Function]:
    """Register the decorated function as the one that trains the given options of `recipe=`.

    The function takes the settings, the folder of the run and the device. Raises TypeError if the options are
    not objects of one dataclass, and ValueError if another class has registered an option of the same name.
    """

    def register(function: Function) -> Function:
        add_recipes(function.__module__, function.__name__, **options)
        return function

    return register


def add_recipes(module: str, function: str, **options: Any) -> None:
    """Register options by the name of their function, which is imported when a recipe is trained.

    Raises as `register_recipe` does.
    """
    RECIPES.register_options((module, function), options)


def module_of(recipe: Any) -> str:
    """The module whose function trains a recipe. Raises UserError if its class is not registered."""
    return RECIPES.target_of(recipe)[0]


def function_of(recipe: Any) -> Callable[..., None]:
    """The function that trains a recipe. Raises UserError as `module_of` does."""
    module, name = RECIPES.target_of(recipe)
    function: Callable[..., None] = getattr(importlib.import_module(module), name)
    return function
