"""The registry of memory policies: the names that `mask_head.memory=` takes, and a policy with its settings.

Files of this package are found by listing it. A file elsewhere registers its policy when it is imported,
which `plugins=` does.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from configs.errors import UserError, did_you_mean
from configs.extensions import Registry
from models.mask_head.memory_policies.policy import MemoryPolicy

Policy = TypeVar("Policy", bound=type[MemoryPolicy])

PLAIN = "plain"
KEY, SETTINGS_KEY = "mask_head.memory", "mask_head.memory_settings"
MEMORY_POLICIES: Registry[type[MemoryPolicy]] = Registry(KEY, __package__ or "")
"""The class of every memory policy, by its name."""


def register_memory_policy(name: str) -> Callable[[Policy], Policy]:
    """Register the decorated class as `mask_head.memory=name`.

    Raises ValueError if another module has registered a policy of this name.
    """

    def register(policy: Policy) -> Policy:
        policy.name = name
        MEMORY_POLICIES.register(name, policy, f"{policy.__module__}.{policy.__qualname__}")
        return policy

    return register


def memory_policy(name: str, settings: Mapping[str, float]) -> MemoryPolicy:
    """The policy of this name, with settings in place of its defaults.

    Raises UserError for an unknown name, and for settings that are unknown, out of bounds or not whole.
    """
    if name not in MEMORY_POLICIES:
        raise UserError(f"{KEY}={name}: must be one of {', '.join(MEMORY_POLICIES)}")
    policy = MEMORY_POLICIES[name]
    known = {field.name: field for field in dataclasses.fields(policy)}
    values: dict[str, Any] = {}
    for setting, value in settings.items():
        if setting not in known:
            has = f"its settings are {', '.join(known)}" if known else "it has no settings"
            hint = did_you_mean(setting, known)
            raise UserError(f"{SETTINGS_KEY}: {KEY}={name} does not know {setting}; {has}{hint}")
        values[setting] = _checked(known[setting], value)
    return policy(**values)


def memory_policy_of(config: Any) -> MemoryPolicy:
    """The policy that the settings of a mask head name. Settings without these keys stand for `plain`."""
    return memory_policy(getattr(config, "memory", PLAIN), getattr(config, "memory_settings", {}))


def _checked(field: "dataclasses.Field[Any]", value: float) -> float:
    """The value of a setting. Raises UserError where it is not what `key` declares."""
    least, most = field.metadata["minimum"], field.metadata["maximum"]
    if not (least is None or value >= least) or not (most is None or value <= most) or value != value:
        bounds = " and ".join(
            f"at {word} {bound}" for word, bound in (("least", least), ("most", most)) if bound is not None
        )
        raise UserError(f"{SETTINGS_KEY}: {field.name}={value} must be {bounds or 'a number'}")
    if field.type is not int:
        return float(value)
    if value != int(value):
        raise UserError(f"{SETTINGS_KEY}: {field.name}={value} must be a whole number")
    return int(value)
