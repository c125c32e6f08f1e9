"""The doctor's questions to a server with OpenAI's chat API, such as vLLM: a canary with known answers.

The messages are those of the contract, with the images as data URIs and temperature 0. A server generates
freely, so the answer is read by `data_prep.contract.parsing`.
"""

import base64
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import cv2
import numpy as np

from configs.errors import UserError
from configs.terminal import echo, shortened
from data_prep.contract.chat import messages
from data_prep.contract.contract import Contract
from data_prep.contract.images import resize, search_size
from data_prep.contract.parsing import box_of_text
from data_prep.geometry import Box, iou
from models.checkpoint_files import check_grounder_checkpoint, find_contract
from models.commands.doctor_questions import RIGHT_IOU, Case, box_cells, rendered_cases
from models.commands.findings import Findings
from models.config import GrounderConfig
from models.config_checks import sized_contract

TIMEOUT = 120  # seconds for one answer; the first one may wait for the server's compilation
MAX_TOKENS = 512  # of an answer
LARGEST_REPLY = 1 << 22  # bytes
SHOWN = 60  # letters of an answer in a message


@dataclass(frozen=True)
class Endpoint:
    """A server: the URL up to `/v1`, and the name of the model there."""

    url: str
    model: str


def examine_endpoint(endpoint: Endpoint, config: GrounderConfig, found: Findings) -> None:
    """Ask a server the doctor's questions by the contract of `config`, and print its answers.

    Raises UserError where the contract is not known, or the server does not answer.
    """
    check_grounder_checkpoint(config)
    contract = sized_contract(config, find_contract(config))
    echo(f"endpoint     {endpoint.url}, model {endpoint.model}, wording {contract.wording}")
    for case in rendered_cases():
        start = time.perf_counter()
        text = ask(endpoint, contract, case)
        seconds = time.perf_counter() - start
        frame = case.question.image
        size = frame.shape[1], frame.shape[0]
        is_visible, box = box_of_text(contract, text, search_size(contract, size), size)
        echo(
            f"{case.title:9}{case.question.expression:24}{box_cells(box, case)}{seconds:7.2f} s  "
            f"{_shown(text)}"
        )
        _judge(case, is_visible, box, text, found)


def _judge(case: Case, is_visible: bool, box: Box | None, text: str, found: Findings) -> None:
    """What a wrong answer means: a fault for the easy target, notes for the others."""
    said = f"it answered {_shown(text)}"
    if case.box_xyxy is None:
        if is_visible:
            found.note(f"endpoint: an absent target is claimed to be visible; {said}")
        return
    overlap = 0.0 if box is None else iou(box, case.box_xyxy)
    if overlap >= RIGHT_IOU:
        return
    if case.title == "small":
        found.note(f"endpoint: the small target is not found (IoU {overlap:.2f}); {said}")
    else:
        found.fault(
            f"endpoint: the target of an easy question is not found (IoU {overlap:.2f}); {said}; check that "
            "model.contract= is that of the served model, and that the server does not resize images"
        )


def _shown(text: str) -> str:
    return repr(shortened(" ".join(text.split()), SHOWN))


# ---- the request ----------------------------------------------------------------------------------


def ask(endpoint: Endpoint, contract: Contract, case: Case) -> str:
    """The text of a server's answer. Raises UserError where it cannot be reached or does not answer."""
    frame = case.question.image
    image = resize(frame, search_size(contract, (frame.shape[1], frame.shape[0])))
    body = {
        "model": endpoint.model,
        "messages": chat_with_images(messages(contract, case.question.expression, False, False), [image]),
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
    }
    if not endpoint.url.startswith(("http://", "https://")):  # urllib would open local files, too
        raise UserError(f"endpoint={endpoint.url}: give a URL such as http://localhost:8000/v1")
    address = f"{endpoint.url.rstrip('/')}/chat/completions"
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            reply: Any = json.loads(response.read(LARGEST_REPLY))
    except urllib.error.HTTPError as fault:
        reason = _shown(fault.read(LARGEST_REPLY).decode(errors="replace"))
        raise UserError(
            f"endpoint={endpoint.url}: {address} answered {fault.code} ({reason}); check endpoint= and "
            "served_model="
        ) from None
    # HTTPException: the address is not a valid URL, or the reply is not HTTP.
    except (OSError, ValueError, HTTPException) as fault:
        raise UserError(
            f"endpoint={endpoint.url}: gives no answer ({fault}); is the server running?"
        ) from None
    try:
        return str(reply["choices"][0]["message"]["content"])
    except (LookupError, TypeError):
        raise UserError(
            f"endpoint={endpoint.url}: the reply of {address} has no choices[0].message.content; it is not "
            "a chat API of OpenAI's form"
        ) from None


def chat_with_images(chat: list[dict[str, Any]], images: list[np.ndarray]) -> list[dict[str, Any]]:
    """A chat in OpenAI's form: the placeholders of images are replaced by data URIs, in their order."""
    remaining = iter(images)

    def part(content: dict[str, Any]) -> dict[str, Any]:
        if content["type"] != "image":
            return content
        return {"type": "image_url", "image_url": {"url": data_uri(next(remaining))}}

    return [{**turn, "content": [part(content) for content in turn["content"]]} for turn in chat]


def data_uri(image: np.ndarray) -> str:
    """An image, RGB uint8 (height, width, 3), as the data URI of a PNG, which is lossless."""
    _, encoded = cv2.imencode(".png", image[..., ::-1])
    return f"data:image/png;base64,{base64.b64encode(encoded.tobytes()).decode()}"
