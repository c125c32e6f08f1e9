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

Thresholds that depend on the checkpoint are keys of the type `float | None` with the name of a number of
`models.calibration.Calibration`. Where they are null, the tracker gets the numbers of the checkpoint's
calibration (`with_calibration`), and reads them by `thresholds_of`.

Files in `infer/trackers/` are found by listing the package. A file elsewhere registers its tracker when it is
imported, which `plugins=[my_tracker.py]` does. A tracker file must not import torch or transformers, because
`python -m infer --help` imports all trackers.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from configs.extensions import OptionRegistry
from data_prep.contract.contract import Contract
from infer.trackers.requests import Tracker
from models.calibration import LIMITS, NEUTRAL, Calibration

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


def with_calibration(config: Any, calibration: Calibration) -> Any:
    """The settings of a tracker, with the numbers of a calibration in place of keys that are null."""
    numbers = thresholds_of(config, calibration)
    return dataclasses.replace(
        config, **{name: getattr(numbers, target) for name, target in _calibrated_keys(config).items()}
    )


def thresholds_of(config: Any, calibration: Calibration = NEUTRAL) -> Calibration:
    """The numbers that a tracker with these settings uses: its keys, and for null those of a calibration."""
    given = {target: getattr(config, name) for name, target in _calibrated_keys(config).items()}
    return dataclasses.replace(
        calibration, **{target: value for target, value in given.items() if value is not None}
    )


def _calibrated_keys(config: Any) -> dict[str, str]:
    """The keys of a tracker that take a number of the calibration, and the name of that number.

    It is the key's own name, unless `CALIBRATED` of the settings class maps it to another one.
    """
    names: dict[str, str] = dict(getattr(type(config), "CALIBRATED", ()))
    targets = {each.name: names.get(each.name, each.name) for each in dataclasses.fields(config)}
    return {name: target for name, target in targets.items() if target in LIMITS}
