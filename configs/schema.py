"""How a settings dataclass documents its keys.

Every key of every configuration is declared with `key`, so that `--help` can print its words
and a test can refuse a key without them.
"""

import dataclasses
from typing import Any


def key(default: Any, doc: str) -> Any:
    """Declare one configuration key: its default and the line of documentation that `--help` prints.

    A `list`, `dict` or dataclass instance is copied for each new object, as dataclasses require.
    """
    metadata = {"doc": doc}
    if isinstance(default, list | dict) or dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: _copied(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _copied(default: Any) -> Any:
    return dataclasses.replace(default) if dataclasses.is_dataclass(default) else type(default)(default)
