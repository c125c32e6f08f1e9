"""`task=doctor`: whether a checkpoint works with this code, and if not, what is wrong.

The checks are those of loading. Loading ends at the first fault; here each check is made on its own, so
that all faults are found. Then three rendered questions are asked, five frames are tracked, and each part is
timed.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from configs.terminal import counted, echo
from data_prep.contract.contract import BUILT_IN, Contract
from data_prep.files import write_whole
from models.calibration import NEUTRAL, Calibration, find_calibration
from models.checkpoint import check_vocabulary, loading
from models.checkpoint_files import (
    GROUNDER_KEY,
    base_of,
    check_grounder_checkpoint,
    find_contract,
    key_of,
    local_folder,
    processor_folder,
)
from models.commands.doctor_endpoint import examine_endpoint
from models.commands.doctor_models import (
    Times,
    grounder_lines,
    grounding_lines,
    run_mask_head,
    time_grounder,
    time_grounding,
    time_lines,
)
from models.commands.doctor_questions import (
    Case,
    answer_lines,
    free_answer,
    judge_answers,
    judge_detections,
    judge_free_answer,
    rendered_cases,
)
from models.commands.findings import Findings
from models.config import GrounderConfig, GroundingConfig
from models.config_checks import sized_contract
from models.families import FAMILIES
from models.file_checks import CONFIG, embedding_rows, read_settings
from models.grounder.chat_template import check_chat_template, opens_thought
from models.grounder.grounder import Grounder
from models.grounder.questions import QuestionEncoder
from models.grounder.registry import check_grounder, load_grounder
from models.interfaces import Answer
from models.mask_head.registry import check_mask_head, load_mask_head
from models.serving.canary import CANARY_FILE, write_canary

KEY = GROUNDER_KEY


def doctor(model: GroundingConfig, mask_head: Any, out: Path, device: torch.device) -> int:
    """Examine a grounder and a mask head, and print what is found; the exit status, 1 for a fault.

    The findings are also written to `out/doctor.json`, and the answers of a multimodal LLM to
    `out/canary.json`, with which a server of the same weights is compared (`models.serving.canary`).
    """
    found = Findings()
    if isinstance(model, GrounderConfig):
        times = _examine_grounder(model, device, found, out)
    else:
        times = _examine_other_grounder(model, device, found)
    times |= _examine_mask_head(mask_head, device, found)
    if times:
        echo("times of the parts, once each:")
        for line in time_lines(times):
            echo(line)
    return _report(found, out)


def doctor_of_endpoint(url: str, served_model: str, model: GrounderConfig, out: Path) -> int:
    """As `doctor`, but a server is asked by the contract of `model`, whose weights are not loaded."""
    found = Findings()
    with found.collecting():
        examine_endpoint(url, served_model, model, found)
    return _report(found, out)


def _report(found: Findings, out: Path) -> int:
    """Print and write what was found; the exit status."""
    write_whole(out / "doctor.json", json.dumps(vars(found), indent=1, ensure_ascii=False) + "\n")
    for note in found.notes:
        echo(f"note:  {note}")
    for fault in found.faults:
        echo(f"fault: {fault}")
    echo(f"{counted(len(found.faults), 'fault')}, {counted(len(found.notes), 'note')}")
    return 1 if found.faults else 0


# ---- the grounder ---------------------------------------------------------------------------------


def _examine_grounder(config: GrounderConfig, device: torch.device, found: Findings, out: Path) -> Times:
    """Check the files, then the loaded grounder and its answers; the time of each part of a question."""
    echo(f"grounder     {config.checkpoint}")
    # 1. The files, without their weights.
    before = len(found.faults)
    with found.collecting():
        check_grounder_checkpoint(config)
    are_whole = len(found.faults) == before
    calibration = found.attempt(lambda: find_calibration(config)) or NEUTRAL
    _examine_processor(config, found)
    # 2. The weights. What is cut short is not read: it would be the same fault in other words.
    if not are_whole:
        return {}
    grounder = found.attempt(lambda: Grounder.load(config, device))
    if grounder is None:
        return {}
    for line in grounder_lines(grounder):
        echo(line)
    echo(f"calibration  {_calibration_text(calibration)}")
    # 3. Answers. NaN in the outputs is a fault that `locate` reports. Boxes are decoded for all questions.
    grounder.box_threshold = 0.0
    times: Times = {}
    with found.collecting():
        _examine_answers(grounder, calibration, found, out)
        times |= time_grounder(grounder, rendered_cases()[0])
    return times


def _examine_other_grounder(config: GroundingConfig, device: torch.device, found: Findings) -> Times:
    """As `_examine_grounder`, of a grounder that is no multimodal LLM: its files, loading, and answers."""
    echo(f"grounder     {config.checkpoint}")
    # 1. The files, then the weights.
    before = len(found.faults)
    with found.collecting():
        check_grounder(config)
    calibration = found.attempt(lambda: find_calibration(config)) or NEUTRAL
    grounder = found.attempt(lambda: load_grounder(config, device)) if len(found.faults) == before else None
    if grounder is None:
        return {}
    for line in grounding_lines(grounder):
        echo(line)
    echo(f"calibration  {_calibration_text(calibration)}")
    # 2. The same questions. Without a contract of an LLM there is no reason to look for in a wrong answer.
    times: Times = {}
    with found.collecting():
        cases = rendered_cases()
        answers = grounder.locate([case.question for case in cases])
        _print_answers(cases, answers)
        judge_detections(calibration, cases, answers, found)
        times |= time_grounding(grounder, cases[0])
    return times


def _print_answers(cases: Sequence[Case], answers: Sequence[Answer]) -> None:
    echo("questions about rendered images, with visible probabilities, and boxes in pixels of the frame:")
    for line in answer_lines(cases, answers):
        echo(line)


def _examine_answers(grounder: Grounder, calibration: Calibration, found: Findings, out: Path) -> None:
    cases = rendered_cases()
    answers = grounder.locate([case.question for case in cases])
    _print_answers(cases, answers)
    write_canary(out / CANARY_FILE, grounder, answers)
    judge_answers(grounder, calibration, cases, answers, found)
    text = free_answer(grounder, cases[0])
    echo(f"a free answer begins with {text!r}")
    judge_free_answer(grounder, cases[0], text, found)


def _examine_processor(config: GrounderConfig, found: Findings) -> None:
    """Check family, contract, vocabulary and chat template, none of which needs the weights."""
    base = found.attempt(lambda: base_of(KEY, config.checkpoint))
    # Of a hub id, the folder in the cache of the hub.
    weights = local_folder(base or config.checkpoint)
    if weights is None or not (weights / CONFIG).is_file():
        echo("family       unknown before the weights are downloaded")
        return
    # 1. The family.
    model_type: Any = None
    with found.collecting():
        model_type = read_settings(KEY, weights / CONFIG).get("model_type")
    echo(f"family       {model_type} ({weights / CONFIG})")
    if model_type not in FAMILIES:
        return
    # 2. The processor.
    processor: Any = None
    source = processor_folder(config.checkpoint, base)
    with found.collecting(), loading(KEY, config.checkpoint):
        processor = FAMILIES[model_type].processor_class().from_pretrained(source, trust_remote_code=False)
    thinks = processor is not None and opens_thought(processor)
    contract = found.attempt(lambda: sized_contract(config, find_contract(config, thinks)))
    if contract is not None:
        echo(f"contract     {_contract_text(config, contract)}")
    if processor is None:
        return
    if base is None:  # tokens that adapters added get their rows when they are loaded
        with found.collecting():
            _check_vocabulary(config.checkpoint, processor.tokenizer, weights)
    # 3. What the contract needs of it.
    if contract is not None:
        with found.collecting():
            check_chat_template(KEY, source, processor, contract)
        with found.collecting():
            QuestionEncoder(processor, contract)


def _check_vocabulary(checkpoint: str, tokenizer: PreTrainedTokenizerBase, weights: Path) -> None:
    """Compare the tokenizer with the embeddings, from the headers of the weights' files."""
    rows = embedding_rows(weights)
    if rows is not None:
        check_vocabulary(key_of(checkpoint, None), checkpoint, len(tokenizer), rows)


def _contract_text(config: GrounderConfig, contract: Contract) -> str:
    """The name of a contract, where it comes from, and what it says."""
    # Further sizes of search images are those of the weights; they do not change how a question is asked.
    asked = replace(contract, other_search_sizes=())
    names = [name for name, built_in in BUILT_IN.items() if built_in == asked]
    name = names[0] if names else "its own"
    if (Path(config.checkpoint) / "contract.json").is_file():
        source = f"{config.checkpoint}/contract.json"
    else:
        named = f"model.contract={config.contract}"
        source = named if config.contract != "auto" else "recognised by the files"
    return f"{name} ({source}): wording {contract.wording}, boxes in {contract.coordinates}"


def _calibration_text(calibration: Calibration) -> str:
    if calibration == NEUTRAL:
        return "none, so trackers take neutral thresholds; fit them with python -m train task=calibrate"
    return ", ".join(f"{name} {value:g}" for name, value in calibration.values().items())


# ---- the mask head --------------------------------------------------------------------------------


def _examine_mask_head(config: Any, device: torch.device, found: Findings) -> Times:
    """Check the files of the mask head, load it, and track five frames; the time of each part."""
    echo(f"mask head    {config.checkpoint}")
    times: Times = {}
    with found.collecting():
        check_mask_head(config)
        lines, times = run_mask_head(load_mask_head(config, device), found)
        for line in lines:
            echo(line)
    return times
