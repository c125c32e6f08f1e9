"""The settings of all commands, and their registration with Hydra for the command that runs."""

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf

_registered: dict[str, tuple[type, Mapping[str, Mapping[str, Any]], Container[str]]] = {}


def register(
    command: str,
    schema: type,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
    flat: Container[str] = (),
) -> None:
    """Declare a command's settings, which its YAML calls `<command>_schema`.

    `schema` is a dataclass with a key `out`, the folder of the results. `groups` holds the options of groups
    whose keys differ from option to option, as in `{"tracker": {"referral": ReferralTracker()}}`. They are
    dataclass objects instead of YAML files in `configs/<group>/`. The mapping is read when a command runs, so
    options may be added to it later, by a plugin for example.

    The keys of an option lie below the name of its group (`tracker.threshold`). Those of the groups in `flat`
    lie at the top level instead; the dataclasses of their options must be subclasses of `schema`.
    """
    _registered[command] = (schema, groups or {}, flat)


@contextmanager
def known_to_hydra(command: str) -> Iterator[None]:
    """A context in which Hydra's ConfigStore holds the settings of this command alone.

    The store is global, and two commands may have a group of the same name with other options.
    """
    schema, groups, flat = _registered[command]
    # 1. Store the schema and the options under the names that the command's YAML refers to.
    store = ConfigStore.instance()
    node = _writable(schema)
    for group in groups:
        # The option of a group replaces the default in the schema. OmegaConf would instead merge the two, and
        # refuse an option of another class than the default's, even if both have the base class of the key.
        if group not in flat:
            node[group] = MISSING
    store.store(name=f"{command}_schema", node=node)
    for group, options in groups.items():
        package = "_global_" if group in flat else None
        for name, settings in options.items():
            store.store(group=group, name=name, node=_writable(settings), package=package)
    try:
        yield
    finally:
        # 2. Remove them. ConfigStore has no public method for that; `repo` is its dictionary of nodes.
        # ConfigStore appends `.yaml` to the names of nodes, and keeps a group as a nested dictionary.
        for name in [f"{command}_schema.yaml", *groups]:
            del store.repo[name]


def _writable(settings: Any) -> DictConfig:
    """A dataclass, or an object of one, as a node that overrides can change.

    OmegaConf makes the node of a frozen dataclass read-only, so Hydra could not apply overrides to it.
    """
    node: DictConfig = OmegaConf.structured(settings)
    _thaw(node)
    return node


def _thaw(node: DictConfig | ListConfig) -> None:
    OmegaConf.set_readonly(node, None)  # None: inherit from the parent, whose flag is cleared as well
    names: Iterable[Any] = range(len(node)) if isinstance(node, ListConfig) else list(node)
    for name in names:
        # Reading a missing value or an interpolation would raise an error, and neither is a container.
        if not OmegaConf.is_missing(node, name) and not OmegaConf.is_interpolation(node, name):
            child = node[name]
            if isinstance(child, DictConfig | ListConfig):
                _thaw(child)
