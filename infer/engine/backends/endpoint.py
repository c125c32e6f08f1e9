"""`engine=endpoint`: the grounder is on a server with OpenAI's chat API."""

from dataclasses import dataclass
from typing import Any

from configs.errors import UserError
from configs.schema import key
from infer.engine.backends.registry import BackendSettings, register_backend
from infer.engine.config import FreeGenerationConfig
from models.checkpoint_files import check_grounder_checkpoint
from models.config_checks import check_server_decoding, require_multimodal_llm
from models.interfaces import Grounding
from models.serving.server import Server, check_canary, check_server


@dataclass(frozen=True)
class EndpointConfig(FreeGenerationConfig):
    """A server with OpenAI's chat API generates the answers (`engine=endpoint`)."""

    url: str = key("", "address of the server, up to /v1, as http://localhost:8000/v1")
    served_model: str | None = key(
        None, "name of the model on the server; null: model.checkpoint, which is the default of vLLM"
    )
    key_variable: str = key(
        "OPENAI_API_KEY",
        "name of the environment variable that holds the server's key; the key itself is no setting, so that "
        "it stands in no record; without the variable no key is sent",
    )
    concurrency: int = key(
        16, "number of requests that are open at a time; a server batches what it has", minimum=1
    )
    timeout: float = key(
        120.0, "seconds for one answer; the first one may wait for compilation", minimum=0.01
    )
    retries: int = key(
        6,
        "how often a request is repeated that failed for a reason that may pass (no connection, too many "
        "requests, an error of the server), with pauses from 1 to 60 seconds; one that took too long is "
        "repeated once",
        minimum=0,
    )
    logprobs: bool = key(
        True,
        "read visible probabilities from log-probabilities; false, for servers that give none: a target is "
        "visible with probability 1 or 0, and thresholds of the tracker have no effect",
    )


def _check_endpoint(settings: BackendSettings) -> None:
    """Raise UserError for settings that no server can be asked by."""
    config = _config_of(settings)
    if not config.url:
        raise UserError(
            "engine=endpoint: needs engine.url=, the address of the server, as http://localhost:8000/v1"
        )
    check_server("engine.url", config.url)
    check_canary(config.canary)
    model = require_multimodal_llm(settings.model, "engine=endpoint")
    check_server_decoding(model, "engine=endpoint")
    check_grounder_checkpoint(model, needs_weights=config.canary == "local")


@register_backend(check=_check_endpoint, endpoint=EndpointConfig())
def open_endpoint(settings: BackendSettings, device: Any) -> Grounding:
    """Connect to a server, and ask it the questions of the canary.

    `model=` names the contract, the processor and, for the fingerprint of results, the weights. Raises
    UserError where the server does not answer, refuses requests, or answers the canary wrongly.
    """
    from models.serving.canary import ask_canary
    from models.serving.endpoint import EndpointGrounder

    config, model = _config_of(settings), require_multimodal_llm(settings.model, "engine=endpoint")
    server = Server(
        url=config.url,
        model=config.served_model or model.checkpoint,
        url_key="engine.url",
        model_key="engine.served_model",
        slow_remedy="restart it, lower engine.concurrency=, or raise engine.timeout=",
        key_variable=config.key_variable,
        concurrency=config.concurrency,
        timeout=config.timeout,
        retries=config.retries,
        logprobs=config.logprobs,
    )
    grounder = EndpointGrounder(model, server)
    ask_canary(config.canary, config.canary_tolerance, server.named, grounder, model, device)
    grounder.statistics.reset()
    return grounder


def _config_of(settings: BackendSettings) -> EndpointConfig:
    assert isinstance(settings.engine, EndpointConfig)
    return settings.engine
