"""`engine=local`: the grounder is loaded into this process."""

from typing import Any

from infer.engine.backends.registry import BackendSettings, register_backend
from infer.engine.config import LocalConfig
from models.grounder.registry import load_grounder
from models.interfaces import Grounding


@register_backend(local=LocalConfig())
def open_local(settings: BackendSettings, device: Any) -> Grounding:
    """Load the grounder of `model=` on a torch device. Raises UserError if it cannot be loaded."""
    return load_grounder(settings.model, device)
