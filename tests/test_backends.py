"""Backends: the options of `engine=`, and who answers the questions of a run."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from configs.errors import UserError
from infer.config import InferSettings
from infer.engine.backends.registry import BACKENDS, BackendSettings, open_backend, register_backend
from infer.engine.config import EngineConfig, LocalConfig
from infer.engine.session import open_session
from infer.trackers.referral import ReferralConfig
from models.devices import set_float32_precision
from models.interfaces import Identity
from tests.registries import forget_later
from tests.scripted import ScriptedGrounding


@dataclass(frozen=True)
class FarConfig(EngineConfig):
    """Settings of a backend of this test."""

    url: str = "http://far"


class _Far(ScriptedGrounding):
    def identity(self) -> Identity:
        return {**super().identity(), "url": "http://far"}


def test_a_registered_backend_answers_the_questions_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_later(monkeypatch, BACKENDS)
    opened: list[BackendSettings] = []

    @register_backend(far=FarConfig())
    def open_far(settings: BackendSettings, device: object) -> ScriptedGrounding:
        opened.append(settings)
        return _Far({})

    settings = InferSettings(tracker=ReferralConfig(logit_scale=1.0), device="cpu", engine=FarConfig())
    session = open_session(settings)
    assert isinstance(session.engine.grounding, _Far) and opened == [settings]
    # What only this backend's answers depend on is in the fingerprint, so that results are not mixed.
    assert session.fingerprint["grounder_settings"] == {"url": "http://far"}
    assert session.fingerprint["grounder"] == "scripted"


def test_the_default_backend_is_local_and_another_class_is_refused() -> None:
    assert BACKENDS["local"] == InferSettings().engine == LocalConfig()
    settings = SimpleNamespace(model=None, engine=FarConfig())
    with pytest.raises(UserError, match="no engine is registered for FarConfig"):
        open_backend(settings, None)


def test_float32_is_exact_on_a_gpu_unless_tf32_is_asked_for() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        for tf32, precision in ((True, "high"), (False, "highest")):
            set_float32_precision(tf32)
            assert torch.get_float32_matmul_precision() == precision
            assert torch.backends.cudnn.allow_tf32 is tf32
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
