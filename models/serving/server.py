"""The settings of a server with OpenAI's chat API, and checks that run before torch is imported."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from configs.errors import UserError

INSTALL = "pip install -e '.[endpoint]'"
MAX_TOKENS = 512  # of an answer, without its thought
CANARIES = ("known", "local", "off")
"""The values of `engine.canary` that are not files (`models.serving.canary`)."""


@dataclass(frozen=True)
class Server:
    """A server, and how it is asked.

    `url` ends in `/v1`. `model` is the name of the model there. `url_key` and `model_key` are the
    configuration keys of both, for messages; `slow_remedy` says what helps against a server that is too slow.
    `key_variable` names the environment variable that holds the server's key; if it is not set, the server
    needs none. `timeout` is in seconds, for each attempt. `thinking` is passed to the chat template as
    `enable_thinking`; None: the template does not read it.
    """

    url: str
    model: str
    url_key: str
    model_key: str
    slow_remedy: str = "restart it"
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 1
    timeout: float = 120.0
    retries: int = 0
    max_tokens: int = MAX_TOKENS
    logprobs: bool = False
    thinking: bool | None = None

    @property
    def named(self) -> str:
        """The key and the URL, which begin every message about this server."""
        return f"{self.url_key}={self.url}"


def check_server(url_key: str, url: str) -> None:
    """Raise UserError where the URL is none or holds a password, or the package `openai` is missing."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and not set(url) & set(" \t\n")
    except ValueError:
        is_url = False
    if not is_url:
        raise UserError(f"{url_key}={url}: give a URL such as http://localhost:8000/v1")
    # The URL is written into records of the run.
    if parts.username is not None or parts.password is not None:
        raise UserError(
            f"{url_key}: the URL holds a name or a password, which would be written into the records of the "
            "run; put the server's key into an environment variable instead"
        )
    if find_spec("openai") is None:
        raise UserError(f"{url_key}={url}: needs the package openai; {INSTALL}")


def check_canary(canary: str) -> None:
    """Raise UserError where `engine.canary` is neither a known value nor a file."""
    if canary not in CANARIES and not Path(canary).is_file():
        raise UserError(
            f"engine.canary={canary}: no such file; take {', '.join(CANARIES)}, or the canary.json that "
            "python -m models task=doctor writes where the weights are"
        )
