"""The doctor's questions to a server with OpenAI's chat API, such as vLLM: a canary with known answers.

The messages are those of the contract, with the images as data URIs. A server generates freely, so the
answer is read by `data_prep.contract.parsing`.
"""

import time

from configs.terminal import echo, shortened
from data_prep.contract.chat import messages
from data_prep.contract.images import resize, search_size
from data_prep.contract.parsing import box_of_text
from data_prep.geometry import Box, iou
from models.checkpoint_files import check_grounder_checkpoint, find_contract
from models.commands.doctor_questions import RIGHT_IOU, Case, box_cells, rendered_cases
from models.commands.findings import Findings
from models.config import GrounderConfig
from models.config_checks import sized_contract
from models.serving.chat_client import ChatClient
from models.serving.chat_format import Chat
from models.serving.server import Server

SHOWN = 60  # letters of an answer in a message


def examine_endpoint(url: str, served_model: str, config: GrounderConfig, found: Findings) -> None:
    """Ask a server the doctor's questions by the contract of `config`, and print its answers.

    Raises UserError where the contract is not known, or the server does not answer.
    """
    check_grounder_checkpoint(config, needs_weights=False)
    contract = sized_contract(config, find_contract(config))
    client = ChatClient(Server(url, served_model, "endpoint", "served_model"))
    echo(f"endpoint     {url}, model {served_model}, wording {contract.wording}")
    for case in rendered_cases():
        frame = case.question.image
        size = frame.shape[1], frame.shape[0]
        image = resize(frame, search_size(contract, size))
        start = time.perf_counter()
        (generated,) = client.generate(
            [Chat(messages(contract, case.question.expression, False, False), [image])]
        )
        text, seconds = generated.text, time.perf_counter() - start
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
