"""OpenAI's chat format: the messages of a question with their images, and the answer in a reply."""

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from models.serving.free_answers import Generated, GeneratedToken

TOP_LOGPROBS = 20  # alternatives of each token; servers refuse more


@dataclass(frozen=True, eq=False)
class Chat:
    """The messages of one question, and the images of its placeholders, RGB uint8 (height, width, 3)."""

    messages: list[dict[str, Any]]
    images: list[np.ndarray]


class ReplyError(ValueError):
    """A reply that does not have OpenAI's form; the message says why. `text` is the part that is shown."""

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(reason)
        self.text = text


class NoLogprobsError(ReplyError):
    """A reply without the log-probabilities that were asked for."""


# ---- requests -------------------------------------------------------------------------------------


def chat_with_images(chat: list[dict[str, Any]], images: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """A chat in OpenAI's form: the placeholders of images are replaced by data URIs, in their order."""
    remaining: Iterator[np.ndarray] = iter(images)

    def part(content: dict[str, Any]) -> dict[str, Any]:
        if content["type"] != "image":
            return content
        return {"type": "image_url", "image_url": {"url": data_uri(next(remaining))}}

    return [{**turn, "content": [part(content) for content in turn["content"]]} for turn in chat]


def data_uri(image: np.ndarray) -> str:
    """An image, RGB uint8 (height, width, 3), as the data URI of a PNG, which is lossless."""
    _, encoded = cv2.imencode(".png", image[..., ::-1])
    return f"data:image/png;base64,{base64.b64encode(encoded.tobytes()).decode()}"


# ---- replies --------------------------------------------------------------------------------------


def parse_reply(body: bytes, with_logprobs: bool) -> Generated:
    """The answer in the body of a reply.

    Raises ReplyError where the body is not JSON or not of OpenAI's form, and NoLogprobsError where only the
    log-probabilities are missing, if they were asked for.
    """
    try:
        reply: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise ReplyError("is not JSON", body[:200].decode(errors="replace")) from None
    try:
        choice = reply["choices"][0]
        text = str(choice["message"]["content"] or "")
    except (LookupError, TypeError):
        raise ReplyError("has no choices[0].message.content", body[:200].decode(errors="replace")) from None
    try:
        num_tokens = int(reply["usage"]["prompt_tokens"])
    except (LookupError, TypeError, ValueError):
        num_tokens = None
    return Generated(text, _tokens(choice, text) if with_logprobs else None, num_tokens)


def _tokens(choice: Mapping[str, Any], text: str) -> tuple[GeneratedToken, ...]:
    """The tokens of a choice with their log-probabilities. Raises ReplyError."""
    try:
        content: Any = choice["logprobs"]["content"]
    except (LookupError, TypeError):
        content = None
    if not content and text:
        raise NoLogprobsError("has no choices[0].logprobs.content")
    try:
        return tuple(
            GeneratedToken(
                _token_text(item),
                _logprob(item),
                {_token_text(other): _logprob(other) for other in item.get("top_logprobs") or ()},
            )
            for item in content or ()
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        raise ReplyError("has log-probabilities of another form") from None


def _token_text(item: Mapping[str, Any]) -> bytes:
    """The text of a token. `bytes` is exact where a token is only a part of a character."""
    values = item.get("bytes")
    return str(item["token"]).encode(errors="surrogatepass") if values is None else bytes(values)


def _logprob(item: Mapping[str, Any]) -> float:
    """The log-probability of a token. Raises ValueError where it is NaN."""
    value = float(item["logprob"])
    if math.isnan(value):
        raise ValueError("NaN")
    return min(value, 0.0)  # sums in low precision may exceed 0
