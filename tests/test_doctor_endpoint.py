"""The doctor's questions to a server: what is sent, how answers are read, and what a wrong one means."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from configs.app import run_command
from data_prep.contract.contract import BUILT_IN
from data_prep.contract.images import search_size
from data_prep.geometry import rescale
from models.__main__ import DOC, main
from models.commands.doctor_questions import rendered_cases
from tests.chat_server import ChatServer, Reply, serving


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as started:
        yield started


def examine(server: ChatServer, tmp_path: Any) -> tuple[int, dict[str, list[str]]]:
    arguments = [f"endpoint={server.url}", "served_model=mine", f"out={tmp_path}"]
    status = run_command("models", main, DOC, [*arguments, "model=qwen2_5_vl_3b"])
    return status, json.loads((tmp_path / "doctor.json").read_text())


def answers(*texts: str) -> Reply:
    """The given texts, one for each request."""
    remaining = iter(texts)
    return lambda _: (200, {"choices": [{"message": {"content": next(remaining)}}]})


def box_texts() -> list[str]:
    """The true boxes in Qwen2.5-VL's form; the rendered frames are resized by the contract."""
    texts = []
    for case in rendered_cases():
        size = case.question.image.shape[1], case.question.image.shape[0]
        if case.box_xyxy is None:
            texts.append("[]")
        else:
            box = rescale(case.box_xyxy, size, search_size(BUILT_IN["qwen"], size))
            texts.append(f'```json\n[{{"bbox_2d": {[round(side) for side in box]}, "label": "it"}}]\n```')
    return texts


def test_right_answers_are_well(
    server: ChatServer, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server.reply = answers(*box_texts())
    status, found = examine(server, tmp_path)
    assert status == 0 and found == {"faults": [], "notes": []}
    assert "endpoint     http://127.0.0.1" in capsys.readouterr().out
    request = server.requests[0]
    assert request["path"] == "/v1/chat/completions"
    assert request["model"] == "mine" and request["temperature"] == 0
    # The image is sent without loss, at the size that the contract gives it.
    parts = request["messages"][0]["content"]
    case = rendered_cases()[0]
    assert any(case.question.expression in part.get("text", "") for part in parts)
    (uri,) = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    png = np.frombuffer(base64.b64decode(uri.removeprefix("data:image/png;base64,")), np.uint8)
    image = cv2.imdecode(png, cv2.IMREAD_COLOR)
    assert image.shape[0] % 28 == image.shape[1] % 28 == 0
    colours = [picture.mean((0, 1)) for picture in (image[..., ::-1], case.question.image)]
    np.testing.assert_allclose(*colours, atol=1)


def test_wrong_answers_are_named(server: ChatServer, tmp_path: Any) -> None:
    server.reply = answers("I cannot help with that.", '[{"bbox_2d": [1, 2, 30, 40]}]', "[]")
    status, found = examine(server, tmp_path)
    assert status == 1
    (fault,) = found["faults"]
    assert (
        fault.startswith("endpoint: the target of an easy question is not found") and "cannot help" in fault
    )
    assert [note.split(";")[0] for note in found["notes"]] == [
        "endpoint: an absent target is claimed to be visible",
        "endpoint: the small target is not found (IoU 0.00)",
    ]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            (404, {"error": "no model mine"}),
            "answered 404 .*no model mine.*check endpoint= and served_model=",
        ),
        ((200, {"choices": []}), "has no choices"),
        ((200, ["text"]), "has no choices"),
    ],
)
def test_a_server_that_does_not_answer_is_one_line(
    server: ChatServer, tmp_path: Any, reply: tuple[int, Any], message: str
) -> None:
    server.reply = lambda _: reply
    status, found = examine(server, tmp_path)
    (fault,) = found["faults"]
    assert status == 1 and re.search(message, fault) and "\n" not in fault


def test_no_server_and_no_url_are_one_line(tmp_path: Any) -> None:
    for url, message in (
        ("http://127.0.0.1:9/v1", "gives no answer"),
        ("http://127.0.0.1:9/a b", "give a URL such as"),
        ("file:///etc", "give a URL such as"),
    ):
        assert run_command("models", main, DOC, [f"endpoint={url}", "served_model=x", f"out={tmp_path}"]) == 1
        (fault,) = json.loads((tmp_path / "doctor.json").read_text())["faults"]
        assert fault.startswith(f"endpoint={url}: ") and message in fault
