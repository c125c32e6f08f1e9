"""Whole runs with `engine=endpoint`: the canary, results, servers that fail midway, and what is recorded."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN
from data_prep.contract.images import search_image
from data_prep.geometry import Box, rescale
from infer.config import InferSettings
from infer.engine.backends.endpoint import EndpointConfig
from infer.runs import run as infer_run
from infer.runs.checks import check_settings
from infer.trackers.per_frame import PerFrameConfig
from models.commands.doctor_questions import rendered_cases
from models.config import GrounderConfig
from models.grounder.grounder import Grounder
from models.interfaces import Answer
from models.mask_head.config import MaskHeadConfig
from models.serving import chat_client
from models.serving.canary import write_canary
from models.serving.chat_format import data_uri
from tests.chat_server import ChatServer, completion, serving
from tests.tiny_models import save_grounder, save_mask_head
from tests.votsr_miniature import add_sequence, make_workspace

SEARCH = (336, 224)  # size of the search images of the contract `short`
VISIBLE = '{"visible": true, "bbox_2d": [100,050,200,100]}'


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "FIRST_PAUSE", 0.01)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as started:
        started.reply = lambda _: (200, completion(VISIBLE, 0.9))
        yield started


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return save_grounder(folder / "grounder"), save_mask_head(folder / "mask_head")


@pytest.fixture
def settings(tmp_path: Path, checkpoints: tuple[Path, Path], server: ChatServer) -> InferSettings:
    """A run over `tmp_path/ws` with two sequences of two expressions and four frames each."""
    grounder, mask_head = checkpoints
    make_workspace(tmp_path / "ws")
    return InferSettings(
        workspace=str(tmp_path / "ws"),
        model=GrounderConfig(str(grounder)),
        mask_head=MaskHeadConfig(str(mask_head)),
        tracker=PerFrameConfig(),
        engine=EndpointConfig(
            url=server.url, served_model="mine", canary="off", retries=1, timeout=5.0, lanes=1
        ),
        device="cpu",
        out=str(tmp_path / "out"),
        pack=False,
        overlay=False,
    )


def run(settings: InferSettings, **engine: Any) -> tuple[int, dict[str, Any]]:
    config = dataclasses.replace(settings.engine, **engine)
    settings = dataclasses.replace(settings, engine=config)
    check_settings(settings)
    status = infer_run.run(settings)
    return status, json.loads((Path(settings.out) / "summary.json").read_text())


def results(settings: InferSettings) -> dict[str, bytes]:
    root = Path(str(settings.workspace)) / "results"
    return {path.name: path.read_bytes() for path in sorted(root.rglob("*.txt"))}


def test_a_workspace_is_tracked_and_no_key_is_recorded(
    settings: InferSettings, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    status, summary = run(settings)
    assert status == 0 and summary["written"] == 4 and len(results(settings)) == 4
    assert {request["authorization"] for request in server.requests} == {"Bearer sk-secret"}
    root = Path(str(settings.workspace)).parent
    written = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert b"sk-secret" not in written
    (fingerprint,) = root.rglob("fingerprint.json")
    recorded = json.loads(fingerprint.read_text())["grounder_settings"]
    assert recorded == {"url": server.url, "served_model": "mine", "logprobs": True, "second_look": "small"}
    # Answers of another server are not mixed with these.
    with pytest.raises(UserError, match="overwrite=true"):
        run(settings, served_model="other")


def test_a_server_that_dies_midway_loses_no_finished_track(
    settings: InferSettings, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    good = server.reply

    def dies(body: dict[str, Any]) -> tuple[int, Any]:
        if len(server.requests) > 12:  # eight questions of the first sequence, and some of the second
            raise ConnectionError
        return good(body)

    server.reply = dies
    status, summary = run(settings)
    assert status == 1 and summary["written"] == 2 and len(results(settings)) == 2
    assert {each["reason"].count("is the server running?") for each in summary["failed"]} == {1}
    first = results(settings)
    assert "finished tracks are kept; the same command resumes with the rest" in capsys.readouterr().out
    # It does.
    server.reply = good
    asked = len(server.requests)
    status, summary = run(settings)
    assert status == 0 and summary["written"] == 4 and len(server.requests) == asked + 8
    assert "resume" not in capsys.readouterr().out
    assert first.items() <= results(settings).items()


def test_an_unbroken_run_gives_the_same_bytes(settings: InferSettings, server: ChatServer) -> None:
    run(settings)
    first = results(settings)
    shutil.rmtree(Path(str(settings.workspace)) / "results")
    run(settings, concurrency=1, lanes=None)
    assert results(settings) == first


def test_answers_of_another_form_are_counted_and_told(settings: InferSettings, server: ChatServer) -> None:
    server.reply = lambda _: (200, completion("The target is not visible.", 0.5))
    with pytest.warns(UserWarning, match="does not have the form of the contract"):
        status, summary = run(settings)
    assert status == 0
    assert any("16 of 16 answers do not have the form" in line for line in summary["warnings"])


@pytest.mark.filterwarnings("ignore:.*does not have the form of the contract")
def test_a_server_that_answers_rubbish_midway_writes_no_track(
    settings: InferSettings, server: ChatServer
) -> None:
    good = server.reply

    def raves(body: dict[str, Any]) -> tuple[int, Any]:
        # The first sequence has eight questions. Of the second one two frames are answered well.
        is_good = len(server.requests) in (*range(11), 17, 18)
        return good(body) if is_good else (200, completion("As an AI I see many things.", 0.5))

    server.reply = raves
    add_sequence(Path(str(settings.workspace)), "kite", num_frames=20)
    status, summary = run(settings)
    assert status == 1 and summary["written"] == 2 == len(results(settings))
    (reason,) = {each["reason"] for each in summary["failed"]}
    assert "8 answers in a row cannot be read" in reason and "'As an AI I see" in reason
    assert summary["questions"] == 26, "an answer that can be read starts the count anew"
    server.reply = good
    status, summary = run(settings)
    assert status == 0 and summary["written"] == 4


# ---- the canary -----------------------------------------------------------------------------------


def case_answers(shift: float = 0.0) -> dict[tuple[str, str], tuple[str, float]]:
    """The right answers to the rendered questions, by expression and image: text, visible probability."""
    answers = {}
    for case in rendered_cases():
        size = case.question.image.shape[1], case.question.image.shape[0]
        image = data_uri(search_image(case.question.image, None, BUILT_IN["short"], SEARCH))
        if case.box_xyxy is None:
            answers[case.question.expression, image] = ('{"visible": false}', 0.1)
            continue
        box = rescale(case.box_xyxy, size, SEARCH)
        numbers = ",".join(f"{round(side + shift):03d}" for side in box)
        answers[case.question.expression, image] = (f'{{"visible": true, "bbox_2d": [{numbers}]}}', 0.9)
    return answers


def knows(server: ChatServer, shift: float = 0.0) -> None:
    """Let a server answer the canary rightly, and everything else as before."""
    answers, other = case_answers(shift), server.reply

    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        parts = body["messages"][0]["content"]
        text = str([part.get("text") for part in parts])
        image = parts[-1].get("image_url", {}).get("url") or parts[0].get("image_url", {}).get("url")
        found = [answer for (words, shown), answer in answers.items() if words in text and shown == image]
        return (200, completion(*found[0])) if found else other(body)

    server.reply = reply


def test_known_answers_find_a_server_with_other_weights(settings: InferSettings, server: ChatServer) -> None:
    with pytest.raises(UserError, match=r"engine.url=http.* is answered wrongly: visible 0.900, IoU .*"):
        run(settings, canary="known")
    assert results(settings) == {}
    knows(server)
    assert run(settings, canary="known")[0] == 0


def test_a_file_of_the_doctor_finds_small_differences(
    settings: InferSettings, server: ChatServer, tmp_path: Path
) -> None:
    grounder = Grounder.load(settings.model, _cpu())
    answers = [_answer(case.box_xyxy) for case in rendered_cases()]
    file = tmp_path / "canary.json"
    write_canary(file, grounder, answers)
    knows(server)
    assert run(settings, canary=str(file))[0] == 0
    knows(server, shift=15)  # pixels of the search image
    with pytest.raises(UserError, match=r"IoU of 0.* with that of the weights themselves"):
        run(settings, canary=str(file))
    # Of another contract, or no canary at all.
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "contract": {}}))
    with pytest.raises(UserError, match="asked by another contract"):
        run(settings, canary=str(file))
    file.write_text("[]")
    with pytest.raises(UserError, match="not the answers of a canary"):
        run(settings, canary=str(file))


def test_the_weights_in_this_process_are_compared(settings: InferSettings, server: ChatServer) -> None:
    with pytest.raises(UserError, match="by the weights themselves"):
        run(settings, canary="local")


def _answer(box: Box | None) -> Answer:
    return Answer(0.1, None, 0.5, "") if box is None else Answer(0.9, box, 0.5, "")


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


def test_mistakes_in_settings_are_found_before_a_model_is_loaded(settings: InferSettings) -> None:
    for changes, message in (
        ({"url": ""}, "needs engine.url="),
        ({"url": "localhost"}, "give a URL such as"),
        ({"canary": "konwn"}, "no such file; take known, local, off"),
    ):
        with pytest.raises(UserError, match=message):
            run(settings, **changes)
