"""A grounder on a server with OpenAI's chat API (`engine=endpoint`)."""

from dataclasses import replace

from models.config import GrounderConfig
from models.grounder.chat_template import is_thinking
from models.grounder.loading import load_processor
from models.grounder.questions import QuestionEncoder
from models.grounder.second_look import second_look_of
from models.identity import checkpoint_identity
from models.serving.chat_client import ChatClient
from models.serving.free_grounder import FreeGrounder
from models.serving.server import Server


class EndpointGrounder(FreeGrounder):
    """Asks a server by the contract of a checkpoint; implements `models.interfaces.Grounding`.

    Raises UserError where the processor or the contract cannot be loaded, or the package `openai` is missing.
    """

    def __init__(self, config: GrounderConfig, server: Server) -> None:
        """`config` names the checkpoint, whose weights are not loaded; `server` is where they are."""
        _, processor, contract = load_processor(config)
        server = replace(
            server,
            max_tokens=server.max_tokens + contract.thinking,
            thinking=is_thinking(contract) if "enable_thinking" in str(processor.chat_template) else None,
        )
        identity = {
            "checkpoint": checkpoint_identity(config.checkpoint),
            "dtype": "unknown",  # the server's
            "url": server.url,
            "served_model": server.model,
            "logprobs": server.logprobs,
        }
        client = ChatClient(server)
        super().__init__(
            QuestionEncoder(processor, contract),
            client,
            server.named,
            identity,
            config.box_threshold,
            second_look_of(config.second_look, contract),
        )
