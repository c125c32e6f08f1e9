"""What tests of registries share."""

from typing import Any

import pytest

from configs.extensions import Registry


def forget_later(monkeypatch: pytest.MonkeyPatch, *registries: Registry[Any]) -> None:
    """What is registered from now on is gone after the test."""
    for registry in registries:
        for name, content in vars(registry).items():
            if isinstance(content, dict):
                monkeypatch.setattr(registry, name, dict(content))
