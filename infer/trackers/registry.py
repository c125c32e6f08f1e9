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

from collections.abc import Callable
from typing import Any, TypeVar

from configs.extensions import OptionRegistry
from data_prep.contract.contract import Contract
from infer.trackers.requests import Tracker

Config = TypeVar("Config")
BuilderOf = Callable[[Config, Contract], Tracker]
Builder = Callable[[Any, Contract], Tracker]

TRACKERS: OptionRegistry[Builder] = OptionRegistry("tracker", __package__)
"""The settings of every registered tracker, by its option of `tracker=`."""


def register_tracker(**options: Config) -> Callable[[BuilderOf[Config]], BuilderOf[Config]]:
    """Register the decorated function as the builder of the given options of `tracker=`.

    Raises TypeError if the options are not objects of one dataclass, and ValueError if another class has
    registered an option of the same name.
    """

    def register(builder: BuilderOf[Config]) -> BuilderOf[Config]:
        TRACKERS.register_options(builder, options)
        return builder

    return register


def build_tracker(config: Any, contract: Contract) -> Tracker:
    """The tracker of these settings.

    `contract` is that of the grounder that will answer: a tracker cuts its templates as the contract says.
    Raises UserError if no tracker is registered for the class of `config`.
    """
    return TRACKERS.target_of(config)(config, contract)
