"""A grounder on a server: what is asked, how free answers are read, and what each kind of fault means."""

import dataclasses
import math
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from configs.errors import UserError
from data_prep.contract.contract import BUILT_IN
from infer.config import InferSettings
from infer.engine.backends.registry import check_backend
from infer.engine.backends.vllm import VllmConfig
from models.config import GrounderConfig
from models.grounder.questions import QuestionEncoder
from models.interfaces import Question
from models.serving import chat_client
from models.serving.chat_client import MAX_FAILURES, ChatClient
from models.serving.chat_format import Chat
from models.serving.endpoint import EndpointGrounder
from models.serving.free_answers import Generated, GeneratedToken, read_answer
from models.serving.free_grounder import FreeGrounder
from models.serving.server import Server, check_server
from tests.chat_server import DIGIT, ChatServer, completion, serving
from tests.tiny_models import TINY, save_grounder

VISIBLE = '{"visible": true, "bbox_2d": [100,050,200,100]}'
ABSENT = '{"visible": false}'
CHAT = Chat([{"role": "user", "content": [{"type": "text", "text": "where?"}]}], [])
IMAGE = np.zeros((128, 192, 3), np.uint8)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "FIRST_PAUSE", 0.01)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_grounder(tmp_path_factory.mktemp("checkpoint"))


def settings(server: ChatServer, **changes: Any) -> Server:
    made = Server(server.url, "mine", "engine.url", "engine.served_model", logprobs=True, timeout=5.0)
    return dataclasses.replace(made, **changes)


def fault_of(client: ChatClient, chats: int = 1) -> str:
    with pytest.raises(UserError) as caught:
        client.generate([CHAT] * chats)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- the client -----------------------------------------------------------------------------------


def test_answers_come_in_order_and_at_most_so_many_requests_are_open(server: ChatServer) -> None:
    lock, open_now, most = threading.Lock(), 0, 0

    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        nonlocal open_now, most
        with lock:
            open_now += 1
            most = max(most, open_now)
        text = body["messages"][0]["content"][0]["text"]
        time.sleep(0.05 if text == "0" else 0.02)
        with lock:
            open_now -= 1
        return 200, completion(text, 1.0)

    server.reply = reply
    chats = [Chat([{"role": "user", "content": [{"type": "text", "text": str(i)}]}], []) for i in range(6)]
    client = ChatClient(settings(server, concurrency=3))
    assert [each.text for each in client.generate(chats)] == list("012345")
    assert most == 3
    assert server.requests[0]["temperature"] == 0 and server.requests[0]["top_logprobs"] == 20


def test_the_key_is_sent_and_never_shown(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    server.reply = lambda _: (401, {"error": "no such key: sk-secret"})
    said = fault_of(ChatClient(settings(server, key_variable="MY_KEY")))
    assert server.requests[0]["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in said and "environment variable MY_KEY" in said and "answered 401" in said


@pytest.mark.parametrize("status", [429, 500, 503])
def test_temporary_errors_are_repeated_and_a_success_ends_them(server: ChatServer, status: int) -> None:
    replies = iter([(status, {"error": "busy"})] * 2 + [(200, completion(ABSENT, 0.1))] * 2)
    server.reply = lambda _: next(replies)
    client = ChatClient(settings(server, retries=2))
    assert client.generate([CHAT])[0].text == ABSENT
    assert client.num_retries == 2 and len(server.requests) == 3


def test_a_refusal_is_not_repeated(server: ChatServer) -> None:
    server.reply = lambda _: (404, {"error": "no model mine"})
    said = fault_of(ChatClient(settings(server, retries=5)))
    assert "no model mine" in said and "check engine.url= and engine.served_model=" in said
    assert len(server.requests) == 1


def test_the_pause_that_a_server_asks_for_is_kept(server: ChatServer) -> None:
    replies, times = iter([(429, {}), (200, completion(ABSENT, 0.1))]), []

    def reply(_: dict[str, Any]) -> tuple[int, Any]:
        times.append(time.monotonic())
        return next(replies)

    server.headers, server.reply = {"Retry-After": "0.3"}, reply
    ChatClient(settings(server, retries=1)).generate([CHAT])
    assert times[1] - times[0] >= 0.3


def test_a_server_that_hangs_is_given_up_after_one_repetition(server: ChatServer) -> None:
    released = threading.Event()
    server.reply = lambda _: (200, completion(ABSENT, 0.1)) if released.wait(20) else (500, {})
    client = ChatClient(settings(server, retries=9, timeout=0.2, slow_remedy="raise engine.timeout="))
    start = time.monotonic()
    said = fault_of(client)
    released.set()
    assert "gives no answer within 0.2 s in 2 attempts" in said and "raise engine.timeout=" in said
    assert time.monotonic() - start < 5


def test_an_answer_that_trickles_in_is_given_up_too(server: ChatServer) -> None:
    """Every byte restarts the time limits of HTTP libraries; ours is for the whole answer."""
    server.trickle = 0.05
    server.reply = lambda _: (200, completion(VISIBLE, 0.9))
    assert "gives no answer within 0.3 s" in fault_of(ChatClient(settings(server, timeout=0.3)))


def die(_: dict[str, Any]) -> tuple[int, Any]:
    raise ConnectionError


def test_a_dead_server_costs_its_repetitions_once(server: ChatServer) -> None:
    server.reply = die
    client = ChatClient(settings(server, retries=3))
    assert "in 4 attempts; is the server running?" in fault_of(client)
    assert len(server.requests) == 4
    for _ in range(MAX_FAILURES - 1):
        assert "is the server running?" in fault_of(client)
    assert len(server.requests) == 4 + MAX_FAILURES - 1, "one attempt each"
    assert "has failed 3 times in a row and is not asked any more" in fault_of(client)
    assert len(server.requests) == 4 + MAX_FAILURES - 1


def test_a_server_that_comes_back_is_asked_with_repetitions_again(server: ChatServer) -> None:
    client = ChatClient(settings(server, retries=1))
    for _ in range(MAX_FAILURES):
        server.reply = die
        fault_of(client)
        server.reply = lambda _: (200, completion(ABSENT, 0.1))
        assert client.generate([CHAT])[0].text == ABSENT


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            b"<html>502</html>",
            "its reply is not JSON: '<html>502</html>' in 2 attempts; it is not a chat API",
        ),
        (b"[" * 100_000, "is not JSON"),
        ({"choices": [{"message": {}}]}, 'its reply has no choices[0].message.content: \'{"choices": [{'),
        ({"choices": [{"message": {"content": "a"}, "logprobs": {"content": [3]}}]}, "of another form"),
        (
            {
                "choices": [
                    {
                        "message": {"content": "a"},
                        "logprobs": {"content": [{"token": "a", "logprob": math.nan}]},
                    }
                ]
            },
            "of another form",
        ),
    ],
)
def test_rubbish_is_asked_once_more_and_named(server: ChatServer, reply: Any, message: str) -> None:
    server.reply = lambda _: (200, reply)
    said = fault_of(ChatClient(settings(server, retries=5)))
    assert message in said and "check engine.url=" in said and len(server.requests) == 2


def test_a_server_without_log_probabilities_is_refused(server: ChatServer) -> None:
    remedy = "gives no log-probabilities.*engine.logprobs=false"
    for reply in (
        (200, completion(VISIBLE)),
        (422, {"detail": "Unsupported fields: {'logprobs', 'top_logprobs'}"}),  # transformers serve
    ):
        server.reply = lambda _, reply=reply: reply
        with pytest.raises(UserError, match=remedy):
            ChatClient(settings(server)).generate([CHAT])
    server.reply = lambda _: (200, completion(VISIBLE))
    assert ChatClient(settings(server, logprobs=False)).generate([CHAT]) == [Generated(VISIBLE)]


def test_urls_are_checked_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("localhost:8000", "file:///etc", "http://", "http://[", ""):
        with pytest.raises(UserError, match="give a URL such as"):
            check_server("engine.url", url)
    with pytest.raises(UserError) as caught:
        check_server("engine.url", "http://me:secret@host/v1")
    assert "secret" not in str(caught.value)
    monkeypatch.setattr("models.serving.server.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"needs the package openai; pip install -e '.\[endpoint\]'"):
        check_server("engine.url", "http://localhost:8000/v1")


def test_a_repetition_penalty_is_switched_off_in_both_ways(server: ChatServer) -> None:
    """One is read by vLLM; transformers refuses it, and reads the other."""
    server.reply = lambda _: (200, completion(ABSENT, 0.1))
    ChatClient(settings(server)).generate([CHAT])
    assert server.requests[0]["repetition_penalty"] == 1.0 and server.requests[0]["frequency_penalty"] == 0

    def strict(body: dict[str, Any]) -> tuple[int, Any]:
        unknown = "repetition_penalty" in body
        return (422, {"detail": "Unexpected fields: {'repetition_penalty'}"}) if unknown else (200, good)

    good, server.reply = completion(ABSENT, 0.1), strict
    client = ChatClient(settings(server))
    assert client.generate([CHAT])[0].text == ABSENT and len(client.generate([CHAT] * 3)) == 3
    assert len(server.requests) == 1 + 2 + 3, "it is asked once"
    server.reply = lambda _: (422, {"detail": "repetition_penalty, whatever is sent"})
    assert "answered 422" in fault_of(ChatClient(settings(server)))


# ---- reading answers ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoders() -> Callable[[str], QuestionEncoder]:
    """An encoder by the name of its contract. The vocabulary does not matter: answers come as texts."""
    processors = {28: TINY["qwen2_5_vl"].build_processor(), 32: TINY["qwen3_vl"].build_processor()}

    def encoder(name: str) -> QuestionEncoder:
        contract = BUILT_IN[name]
        return QuestionEncoder(processors[contract.side_multiple], contract)

    return encoder


def tokens(*texts: str | tuple[str, dict[str, float]]) -> tuple[GeneratedToken, ...]:
    """Tokens of probability one half; a pair has a text and the probabilities of its alternatives."""
    made = []
    for each in texts:
        text, options = (each, {}) if isinstance(each, str) else each
        scores = {key.encode(): math.log(value) for key, value in options.items()}
        made.append(GeneratedToken(text.encode(), scores.get(text.encode(), math.log(0.5)), scores))
    return tuple(made)


def generated(*texts: str | tuple[str, dict[str, float]]) -> Generated:
    made = tokens(*texts)
    return Generated(b"".join(each.text for each in made).decode(), made)


def test_the_visible_probability_is_that_of_the_decision(encoders: Callable[[str], QuestionEncoder]) -> None:
    encoder, question = encoders("instruct"), Question(IMAGE, "it")
    parts = ('{"visible":', (" false", {" true": 0.2, " false": 0.6, " maybe": 0.2}), "}")
    read = read_answer(encoder, question, generated(*parts), (192, 128))
    assert read.is_well_formed and read.answer.box_xyxy is None
    assert read.answer.visible == pytest.approx(0.25), "against absent, whatever else is likely"
    digits = [*"12", ",", " ", *"30", ", ", *"40", ", ", *"50"]
    parts = ('{"', 'visible":', (" true", {" true": 0.9}), ', "bbox_2d": [', *digits, "]}")
    read = read_answer(encoder, question, generated(*parts), (192, 128))
    assert read.is_well_formed and read.answer.visible == pytest.approx(1.0)
    assert read.answer.box_xyxy == (12, 30, 40, 50) and read.answer.box_confidence == pytest.approx(0.5)


def test_of_a_list_the_box_with_the_most_probable_digits_is_taken(
    encoders: Callable[[str], QuestionEncoder],
) -> None:
    encoder, question = encoders("qwen3"), Question(IMAGE, "it")
    sure = [(digit, {digit: 0.9}) for digit in "600"]
    parts = (
        *("```", "json", "\n"),
        ("[\n", {"[\n": 0.5, "[]\n": 0.1, "[]": 0.1, "[": 0.1}),
        *('\t{"bbox_2d": [', *"10", ",", *"20", ",", *"300", ",", *"400", '], "label": "[x]"},\n'),
        *('\t{"bbox_2d": [', *sure, ",", *sure, ",", ("9", {"9": 0.9}), *"99", ",", *sure[:1], *"99"),
        '], "label": "it"}\n]\n```',
    )
    answer = read_answer(encoder, question, generated(*parts), (192, 128)).answer
    assert answer.visible == pytest.approx(0.6 / 0.8)
    assert answer.box_xyxy == pytest.approx((0.6 * 192, 0.6 * 128, 0.999 * 192, 0.699 * 128))
    empty = generated("```json\n", ("[]\n", {"[\n": 0.1, "[]\n": 0.3}), "```")
    read = read_answer(encoder, question, empty, (192, 128))
    assert read.is_well_formed and read.answer.visible == pytest.approx(0.25)


def test_an_answer_without_a_decision_is_as_visible_as_its_box_is_sure(
    encoders: Callable[[str], QuestionEncoder],
) -> None:
    encoder = encoders("r1_track")
    question = Question(IMAGE, "it", IMAGE, (50, 40, 90, 80))
    answer = read_answer(encoder, question, generated("[", *"100,100,200,200", "]"), (336, 336)).answer
    assert answer.box_xyxy is not None and answer.visible == answer.box_confidence == pytest.approx(0.5)
    lost = read_answer(encoder, question, generated("I see no target."), (336, 336))
    assert lost.answer.visible == 0 and not lost.is_well_formed


def test_a_thought_is_left_out_and_one_without_an_end_is_no_answer(
    encoders: Callable[[str], QuestionEncoder],
) -> None:
    encoder, question = encoders("qwen3_thinking"), Question(IMAGE, "it")
    answer = ("\n\n```json\n", ("[\n", {"[\n": 0.8, "[]\n": 0.2}), '\t{"bbox_2d": [1, 2, 30, 40]}\n]\n```')
    read = read_answer(
        encoder, question, generated("It is ```json\n[]\n``` no", "</think>", *answer), (192, 128)
    )
    assert read.is_well_formed and read.answer.visible == pytest.approx(0.8)
    assert read.answer.box_xyxy is not None
    endless = read_answer(encoder, question, generated("It may be at [1, 2, 30, 40]"), (192, 128))
    assert not endless.is_well_formed and endless.answer.visible == 0 and endless.answer.box_xyxy is None
    # A server that returns the thought apart, and gives no log-probabilities.
    apart = Generated('```json\n[\n\t{"bbox_2d": [1, 2, 30, 40], "label": "it"}\n]\n```')
    assert read_answer(encoder, question, apart, (192, 128)).answer.visible == 1


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("I cannot help with that.", None),
        ("", None),
        ('{"visible": true, "bbox_2d": [1, 2', None),
        ('{"visible": perhaps}', None),
        ("The target is at [12, 30, 40, 50].", (12, 30, 40, 50)),
        ("[1, 2, 3, 4] or [5, 6, 7, 8]", None),
    ],
)
def test_answers_of_another_form(text: str, box: Any, encoders: Callable[[str], QuestionEncoder]) -> None:
    read = read_answer(encoders("instruct"), Question(IMAGE, "it"), Generated(text), (192, 128))
    assert not read.is_well_formed and read.answer.box_xyxy == box


# ---- the grounder ---------------------------------------------------------------------------------


def grounder_at(server: ChatServer, folder: Path, **changes: Any) -> EndpointGrounder:
    return EndpointGrounder(GrounderConfig(str(folder)), settings(server, **changes))


def test_questions_are_asked_as_in_this_process(server: ChatServer, folder: Path) -> None:
    server.reply = lambda _: (200, completion(VISIBLE, 0.9))
    grounder = grounder_at(server, folder)
    (answer,) = grounder.locate([Question(IMAGE, "the red ball", IMAGE, (10, 10, 30, 30))])
    assert answer.visible == pytest.approx(0.9) and answer.box_confidence == pytest.approx(DIGIT)
    # The search image of this contract has 336x224 pixels.
    assert answer.box_xyxy == pytest.approx(
        (100 / 336 * 192, 50 / 224 * 128, 200 / 336 * 192, 100 / 224 * 128)
    )
    content = server.requests[0]["messages"][0]["content"]
    assert [part["type"] for part in content].count("image_url") == 2
    assert any("the red ball" in part.get("text", "") for part in content)
    assert grounder.statistics.questions == grounder.statistics.batches == 1
    identity = grounder.identity()
    assert identity["url"] == server.url and identity["served_model"] == "mine"


def test_a_region_and_a_second_look_are_asked_of_a_server_too(server: ChatServer, folder: Path) -> None:
    server.reply = lambda _: (200, completion(VISIBLE, 0.9))
    image = np.random.default_rng(0).integers(0, 255, (320, 480, 3), dtype=np.uint8)
    grounder = grounder_at(server, folder)
    (answer,) = grounder.locate([Question(image, "it", region_xyxy=(60, 40, 300, 200))])
    # 336x224 pixels of the search image are 240x160 of the frame.
    box = 60 + 100 / 1.4, 40 + 50 / 1.4, 60 + 200 / 1.4, 40 + 100 / 1.4
    assert answer.box_xyxy == pytest.approx(box)
    assert grounder.second_look == "small" and grounder.identity()["second_look"] == "small"
    # A box of 30 by 20 pixels of the search image is small: the window is three times as large, 129x86 pixels
    # of the frame.
    server.reply = lambda _: (200, completion('{"visible": true, "bbox_2d": [100,050,130,070]}', 0.9))
    (answer,) = grounder.locate([Question(image, "it")])
    assert grounder.statistics.questions == 3 and grounder.statistics.second_looks == 1
    assert answer.visible == pytest.approx(0.9)
    assert answer.box_xyxy is not None
    assert answer.box_xyxy[2] - answer.box_xyxy[0] == pytest.approx(30 * 129 / 336)


def test_ill_formed_answers_are_counted_and_warned_of_once(server: ChatServer, folder: Path) -> None:
    server.reply = lambda _: (200, completion("I cannot help.", 0.5))
    grounder = grounder_at(server, folder)
    with pytest.warns(UserWarning, match="does not have the form of the contract: 'I cannot help") as caught:
        answers = grounder.locate([Question(IMAGE, "it")] * 3)
    assert len(caught) == 1 and grounder.statistics.ill_formed_answers == 3
    assert all(answer.visible == 0 and answer.box_xyxy is None for answer in answers)


def test_a_server_that_becomes_slow_is_told_of_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0

    class Slow:
        num_retries, seconds = 0, 0.5

        def generate(self, chats: Sequence[Chat]) -> list[Generated]:
            nonlocal clock
            clock += self.seconds
            return [Generated(ABSENT) for _ in chats]

    monkeypatch.setattr("models.serving.free_grounder.perf_counter", lambda: clock)
    server, encoder = Slow(), QuestionEncoder(TINY["qwen2_5_vl"].build_processor(), BUILT_IN["short"])
    grounder = FreeGrounder(encoder, server, "engine.url=http://host/v1", {}, 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for server.seconds in (8.0, *[0.5] * 12, 4.9):
            grounder.locate([Question(IMAGE, "it")])
    server.seconds = 31.0
    with pytest.warns(
        UserWarning, match=r"engine.url=.* took 31 s, and 0.5 s before; .*The run goes on"
    ) as told:
        grounder.locate([Question(IMAGE, "it")])
        grounder.locate([Question(IMAGE, "it")])
    assert len(told) == 1


def test_a_server_that_resizes_images_is_refused(server: ChatServer, folder: Path) -> None:
    grounder = grounder_at(server, folder)
    question = Question(IMAGE, "it")
    expected = grounder.encoder.encode([question], "", starts="").inputs["input_ids"].shape[1]
    server.reply = lambda _: (200, completion(ABSENT, 0.1, prompt_tokens=expected))
    grounder.locate([question])
    server.reply = lambda _: (200, completion(ABSENT, 0.1, prompt_tokens=expected - 8))
    with pytest.raises(UserError, match=f"336x224 pixels has {expected - 8} tokens there, and {expected} by"):
        grounder_at(server, folder).locate([question])


def test_weights_are_not_needed(server: ChatServer, tmp_path: Path) -> None:
    folder = save_grounder(tmp_path)
    (folder / "model.safetensors").unlink()
    server.reply = lambda _: (200, completion(ABSENT, 0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (answer,) = grounder_at(server, folder).locate([Question(IMAGE, "it")])
    assert answer.visible == pytest.approx(0.1) and answer.box_xyxy is None


# ---- vLLM in this process -------------------------------------------------------------------------


class FakeLLM:
    """The part of `vllm.LLM` (0.33) that is used: it finds everything in one box."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.calls: list[tuple[Any, Any, dict[str, Any]]] = []

    def chat(self, messages: Any, sampling_params: Any, **others: Any) -> list[Any]:
        self.calls.append((messages, sampling_params, others))
        content = completion(VISIBLE, 0.9)["choices"][0]["logprobs"]["content"]
        # Ids are the places in a list of texts, since only the texts are read.
        steps = [
            {
                index: SimpleNamespace(logprob=each["logprob"], decoded_token=each["token"])
                for index, each in enumerate(item["top_logprobs"])
            }
            for item in content
        ]
        made = SimpleNamespace(text=VISIBLE, token_ids=[0] * len(steps), logprobs=steps)
        return [SimpleNamespace(outputs=[made], prompt_token_ids=[1] * self.prompt_tokens) for _ in messages]

    prompt_tokens = 0


def test_vllm_in_this_process_is_asked_and_read_alike(
    folder: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = lambda **arguments: arguments  # noqa: E731
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=FakeLLM, SamplingParams=sampling))
    from models.serving.vllm_grounder import VllmGrounder

    grounder = VllmGrounder(GrounderConfig(str(folder)), gpu_memory_utilization=0.5)
    llm: Any = grounder.generator.llm
    question = Question(IMAGE, "the red ball", IMAGE, (10, 10, 30, 30))
    llm.prompt_tokens = grounder.encoder.prompt_tokens(
        question, [image.shape[1::-1] for image in grounder.encoder.images(question)]
    )
    server.reply = lambda _: (200, completion(VISIBLE, 0.9))
    assert grounder.locate([question]) == grounder_at(server, folder).locate([question])
    ((conversation,), asked, others) = llm.calls[0]
    shown = [part["image_pil"].size for part in conversation[0]["content"] if part["type"] == "image_pil"]
    assert len(shown) == 2 and shown[-1] == (336, 224)
    assert asked == {"temperature": 0.0, "max_tokens": 512, "logprobs": 20} and not others["use_tqdm"]
    assert llm.arguments["gpu_memory_utilization"] == 0.5 and not llm.arguments["trust_remote_code"]
    assert grounder.identity()["backend"] == "vllm"


def test_without_vllm_the_install_command_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infer.engine.backends.vllm.find_spec", lambda _: None)
    settings = InferSettings(model=GrounderConfig(str(folder)), engine=VllmConfig(), tracker=None)
    with pytest.raises(UserError, match=r"pip install -e '.\[vllm\]'"):
        check_backend(settings)
