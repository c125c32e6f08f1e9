"""Training teaches the whole answer: a model that generates freely opens it, gives it, and stops."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils.import_utils import is_serve_available

from configs.errors import UserError
from data_prep.contract.chat import answer_text, messages
from data_prep.contract.contract import BUILT_IN
from data_prep.geometry import Box
from models.config import GrounderConfig
from models.families import FAMILIES
from models.grounder.chat_template import end_of_turn
from models.grounder.grounder import Grounder
from models.grounder.questions import QuestionEncoder
from models.grounder.saving import save_checkpoint
from models.interfaces import Question
from models.serving.chat_client import ChatClient
from models.serving.chat_format import Chat
from models.serving.endpoint import EndpointGrounder
from models.serving.server import Server
from tests.published import CHAT_TEMPLATE, PREPROCESSOR, PUBLISHED, SYSTEM, VIDEO, save_tokenizer
from tests.tiny_models import TINY
from train.pairs import IGNORED, PairSample, encode_answers
from train.sft.batches import collate
from train.sft.model import GrounderForTraining

SIDE = 112  # pixels: 16 tokens
CONTRACT = dataclasses.replace(
    BUILT_IN["short"], search_size=(0, 0), min_pixels=SIDE * SIDE, max_pixels=SIDE * SIDE
)
STEPS, LEARNING_RATE = 60, 3e-3
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
SAMPLES: dict[str, Box | None] = {"the red ball": (12.0, 20.0, 61.0, 85.0), "the blue star": None}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def trained_by_heart(processor: Any, model: Any) -> None:
    """Train a model on the samples until it repeats their answers; it is changed in place."""
    samples = [PairSample(0, Question(IMAGE, words), box) for words, box in SAMPLES.items()]
    batch = collate(QuestionEncoder(processor, CONTRACT), samples)
    loss_of = GrounderForTraining(model, packed=False, trains_vision=True)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    for _ in range(STEPS):
        loss = loss_of(batch) / batch.answer_tokens
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.05


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small grounder that was trained on two answers until it repeats them."""
    processor: Any = TINY["qwen2_5_vl"].build_processor()
    model = TINY["qwen2_5_vl"].build_grounder(processor, width=64, layers=2, vision_layers=2)
    trained_by_heart(processor, model)
    folder = tmp_path_factory.mktemp("overfitted") / "model"
    processor.tokenizer.backend_tokenizer.no_padding()
    save_checkpoint(folder, model, processor, CONTRACT)
    return folder


def expected(words: str) -> str:
    return CONTRACT.format.start + answer_text(CONTRACT, SAMPLES[words], (SIDE, SIDE))


def test_a_free_answer_is_the_trained_one_and_ends_by_itself(overfitted: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(overfitted)
    processor = AutoProcessor.from_pretrained(overfitted)
    for words in SAMPLES:
        chat = messages(CONTRACT, words, has_template=False, is_marked=False)
        text = processor.apply_chat_template(chat, add_generation_prompt=True)
        inputs = processor(text=[text], images=[Image.fromarray(IMAGE)], return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1] :]
        assert processor.tokenizer.decode(tokens) == expected(words) + "<|im_end|>"


def test_labels_are_the_whole_answer_with_its_end() -> None:
    processor: Any = TINY["qwen2_5_vl"].build_processor()
    encoder = QuestionEncoder(processor, CONTRACT)
    answers = [answer_text(CONTRACT, box, (SIDE, SIDE)) for box in SAMPLES.values()]
    encoded, labels = encode_answers(encoder, [Question(IMAGE, words) for words in SAMPLES], answers)
    for row, tokens, words in zip(labels, encoded.inputs["input_ids"], SAMPLES, strict=True):
        learned = row != IGNORED
        assert processor.tokenizer.decode(row[learned]) == expected(words) + "<|im_end|>"
        assert learned[-int(learned.sum()) :].all(), "it is at the end"
        assert torch.equal(row[learned], tokens[learned])


@pytest.fixture(scope="module")
def published_processor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """That of VPTracker: Qwen3-VL's vocabulary with tokens of its own."""
    folder = tmp_path_factory.mktemp("published")
    save_tokenizer(folder, PUBLISHED["vptracker"])
    for file, values in (
        ("preprocessor_config.json", PREPROCESSOR["qwen3_vl"]),
        ("video_preprocessor_config.json", VIDEO),
    ):
        (folder / file).write_text(json.dumps(values))
    return AutoProcessor.from_pretrained(folder)


@pytest.mark.parametrize("name", ["vptracker", "qwen3", "instruct3"])
@pytest.mark.parametrize("box", SAMPLES.values())
def test_labels_of_published_vocabularies_are_whole_answers(
    name: str, box: Box | None, published_processor: Any
) -> None:
    """Every format has tokens of its own at the border between question and answer."""
    contract = BUILT_IN[name]
    answer = answer_text(contract, box, (SIDE, SIDE))
    encoder = QuestionEncoder(published_processor, contract)
    _, labels = encode_answers(encoder, [Question(IMAGE, "it", IMAGE)], [answer])
    learned = labels[labels != IGNORED]
    assert published_processor.tokenizer.decode(learned) == contract.format.start + answer + "<|im_end|>"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_end_of_a_turn_is_what_the_template_writes(family: str) -> None:
    processor: Any = TINY[family].build_processor()
    assert end_of_turn(processor) == "<|im_end|>", "the tokenizer's, where the template writes none"
    published = SYSTEM.get(family, "") + CHAT_TEMPLATE.replace("OPENING", "")
    processor.chat_template = published
    assert end_of_turn(processor) == "<|im_end|>", "without the newline after it"
    processor.chat_template = published.replace("<|im_end|>\n", " bye<|endoftext|>\n")
    assert end_of_turn(processor) == " bye<|endoftext|>"
    loop = "{% for _ in range(9999) %}{% for _ in range(9999) %}{% endfor %}{% endfor %}"
    processor.chat_template = published + loop
    with pytest.raises(UserError, match=r"cannot write an answer \(it does not come to an end\)"):
        end_of_turn(processor)


# ---- a server --------------------------------------------------------------------------------------


@contextmanager
def serving(checkpoint: Path, log: Path) -> Iterator[str]:
    """The address of `transformers serve` with a checkpoint, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "from transformers.cli.transformers import app; app()"
    options = ("--device", "cpu", "--host", "127.0.0.1", "--port", str(port))
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", command, "serve", *options, str(checkpoint)],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            stdout=stream,
            stderr=stream,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def address(overfitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the small grounder."""
    if not is_serve_available():
        pytest.skip("transformers[serving] is not installed")
    with serving(overfitted, tmp_path_factory.mktemp("server") / "log") as started:
        yield started


def client_of(address: str, checkpoint: Path, **changes: Any) -> Server:
    server = Server(f"{address}/v1", str(checkpoint), "engine.url", "engine.served_model", **changes)
    return dataclasses.replace(server, timeout=60.0, concurrency=2)


def test_a_server_gives_the_answers_and_their_ends(address: str, overfitted: Path) -> None:
    chats = [
        Chat(messages(CONTRACT, words, has_template=False, is_marked=False), [IMAGE]) for words in SAMPLES
    ]
    answers = ChatClient(client_of(address, overfitted)).generate(chats)
    assert [answer.text for answer in answers] == [expected(words) for words in SAMPLES]


def test_a_grounder_on_a_server_answers_as_in_this_process(address: str, overfitted: Path) -> None:
    config = GrounderConfig(str(overfitted))
    questions = [Question(IMAGE, words) for words in SAMPLES]
    local = Grounder.load(config, torch.device("cpu")).locate(questions)
    grounder = EndpointGrounder(config, client_of(address, overfitted))
    served = grounder.locate(questions)
    for ours, theirs in zip(local, served, strict=True):
        assert round(ours.visible) == theirs.visible
        assert theirs.box_xyxy == (ours.box_xyxy if theirs.visible else None)
    # The server counts as many tokens in a question as the contract: images are not resized again there.
    assert grounder.statistics.ill_formed_answers == 0
    (generated,) = grounder.generator.generate([Chat(grounder.encoder.chat(questions[0]), [IMAGE])])
    assert generated.prompt_tokens == grounder.encoder.prompt_tokens(questions[0], [(SIDE, SIDE)])


def test_a_server_without_log_probabilities_is_refused(address: str, overfitted: Path) -> None:
    grounder = EndpointGrounder(
        GrounderConfig(str(overfitted)), client_of(address, overfitted, logprobs=True)
    )
    with pytest.raises(UserError, match=r"gives no log-probabilities.*engine\.logprobs=false"):
        grounder.locate([Question(IMAGE, "the red ball")])
