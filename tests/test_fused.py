"""Fused kernels are asked for where they can work, and only there."""

import importlib
import sys
import types
from typing import Any

import pytest
import torch

from models.grounder.nano import build_grounder, build_processor
from models.kernels import fused


def test_kernels_are_taken_on_a_gpu_where_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(fused, "apply_liger_kernel", lambda *given: asked.append(given))
    model: Any = object()
    for installed, device, wanted in ((True, "cuda", True), (True, "cpu", False), (False, "cuda", False)):
        monkeypatch.setattr(fused, "is_liger_kernel_available", lambda installed=installed: installed)
        assert fused.apply_liger(model, torch.device(device)) == wanted
    assert asked == [(model, fused.LIGER_KERNELS)]


def test_the_package_is_told_to_leave_the_loss_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As transformers passes it on to the package's own entry point."""
    told: dict[str, Any] = {}
    package, inner = types.ModuleType("liger_kernel"), types.ModuleType("liger_kernel.transformers")
    inner._apply_liger_kernel_to_instance = lambda model, **kernels: told.update(kernels)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liger_kernel", package)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", inner)
    integration = importlib.import_module("transformers.integrations.liger")
    for module in (fused, integration):
        monkeypatch.setattr(module, "is_liger_kernel_available", lambda: True)
    assert fused.apply_liger(
        build_grounder(build_processor(), width=32, layers=1, vision_layers=1), torch.device("cuda")
    )
    assert told["rms_norm"] and not told["cross_entropy"] and not told["fused_linear_cross_entropy"]
