"""The grounder: batches, the visible probability, decoded boxes, contracts and spoilt checkpoints."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2VLConfig

from configs.errors import UserError
from data_prep.contract.chat import messages
from data_prep.contract.contract import BUILT_IN, CONTRACT_FILE, Contract, write_contract
from data_prep.contract.formats import ANSWER_FORMATS
from data_prep.geometry import Size, iou
from data_prep.world.presets import PRESETS
from models.checkpoint_files import check_checkpoint, find_contract
from models.config import GrounderConfig
from models.families import FAMILIES
from models.grounder.answer_tokens import MAX_BOX_TOKENS
from models.grounder.grounder import Grounder
from models.interfaces import Answer, Question
from models.kernels.qwen2_5_vl import WindowAttention
from tests.objectives import built
from tests.tiny_models import TINY, save_grounder
from train.scratch.annotated_frames import read_frame, render_frame
from train.scratch.config import GrounderRecipe, GrounderStage
from train.scratch.grounder import GrounderObjective
from train.scratch.questions import QuestionMix, Sample, sample_questions

JSON = ANSWER_FORMATS["json"]
CPU = torch.device("cpu")
TOKENS = 9, 6  # of a search image of 480×320


def contract_of(family: str) -> Contract:
    short = TINY[family].contract
    budget = TOKENS[0] * TOKENS[1] * short.side_multiple**2
    return dataclasses.replace(short, search_size=(0, 0), min_pixels=budget, max_pixels=budget)


def size_by(contract: Contract) -> Size:
    return TOKENS[0] * contract.side_multiple, TOKENS[1] * contract.side_multiple


@pytest.fixture(autouse=True, scope="module")
def offline_on_one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable was read at import
        yield


# ---- a grounder that learned four samples by heart -----------------------------------------------


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def samples(family: str) -> list[Sample]:
    """Questions about four shots, with and without template and rectangle; the third has no target."""
    shots, contract = [], contract_of(family)
    for seed in range(4):
        row = render_frame(seed, PRESETS["plain"], contract, size_by(contract))
        shots.append(read_frame({name: pa.scalar(value) for name, value in row.items()}, contract))
    mixes = [QuestionMix(float(n == 2), template=float(n % 2), marked=float(n > 1)) for n in range(4)]
    asked = [sample_questions(np.random.default_rng(n), shots, 1, mix)[n] for n, mix in enumerate(mixes)]
    assert [sample.thing is None for sample in asked] == [False, False, True, False]
    return asked


@pytest.fixture(scope="module")
def taught_folder(family: str, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint trained on the samples with the recipe's own losses, and saved by it."""
    folder = tmp_path_factory.mktemp("taught")
    stages = [GrounderStage(presets=["plain"], steps=1)]
    recipe = GrounderRecipe(
        width=32, layers=2, vision_layers=2, match_layer=1, stages=stages, soft_label_std=0.0
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.scratch.grounder.build_processor", TINY[family].build_processor)
        patch.setattr("train.scratch.grounder.build_grounder", TINY[family].build_grounder)
        patch.setattr("train.scratch.grounder.BUILT_IN", {recipe.contract: contract_of(family)})
        training = built(GrounderObjective, recipe, folder)
    training.model.train()
    steps, warmup, peak = 100, 15, 4e-3
    for step in range(steps):
        rate = peak * min(1.0, (step + 1) / warmup) * (1 - 0.9 * step / steps)
        loss = sum(training.losses(samples).values(), torch.zeros(()))
        training.update(loss, rate, 1.0, training.model.parameters())
    training.save_weights(folder / "model", 0, {})
    return folder / "model"


@pytest.fixture(scope="module")
def taught(taught_folder: Path) -> Grounder:
    return Grounder.load(GrounderConfig(str(taught_folder), box_threshold=0.0, decode="greedy"), CPU)


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def questions(samples: list[Sample]) -> list[Question]:
    """Questions of very different lengths: with and without template and mark, lying and standing."""
    asked = [sample.question for sample in samples]
    assert {question.template is None for question in asked} == {True, False}
    assert {question.visual_prompt_xyxy is None for question in asked} == {True, False}
    return [
        *asked,
        Question(noise(270, 480), "it"),
        Question(noise(112, 112), "a long description of a thing " * 4, noise(40, 40), (3, 4, 50, 60)),
    ]


@contextmanager
def favouring(grounder: Grounder, text: str) -> Iterator[None]:
    """While it lasts, the model says one token for ever."""
    (token,) = grounder.tokenizer(text, add_special_tokens=False).input_ids
    bias = torch.zeros(grounder.model.config.get_text_config().vocab_size)
    bias[token] = 1e4
    hook = grounder.model.lm_head.register_forward_hook(lambda _module, _inputs, logits: logits + bias)
    try:
        yield
    finally:
        hook.remove()


def test_what_was_taught_is_answered(taught: Grounder, samples: list[Sample]) -> None:
    """Training and inference mean the same thing by an answer, in pixels of the question's image."""
    assert taught.encoder.resized_size((480, 320)) == size_by(taught.contract)
    answers = taught.locate([sample.question for sample in samples])
    for sample, answer in zip(samples, answers, strict=True):
        if sample.box_resized is None:
            assert answer.visible < 0.1
        else:
            assert answer.visible > 0.9 and answer.box_xyxy is not None
            assert iou(answer.box_xyxy, sample.box_resized) > 0.9
            assert answer.box_confidence > 0.6


def check_same(first: Answer, second: Answer) -> None:
    assert first.visible == pytest.approx(second.visible, abs=1e-4)
    assert first.box_confidence == pytest.approx(second.box_confidence, abs=1e-3)
    assert (first.box_xyxy, first.text) == (second.box_xyxy, second.text)


def test_a_batch_is_answered_as_its_questions_alone(taught: Grounder, questions: list[Question]) -> None:
    together = taught.locate(questions)
    assert len({answer.text for answer in together}) >= 3
    for question, answer in zip(questions, together, strict=True):
        check_same(answer, taught.locate([question])[0])


def test_order_and_size_of_batches_do_not_matter(
    taught: Grounder, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = taught.locate(questions)
    monkeypatch.setattr(taught, "batch", 4)
    for question, answer in zip(questions[::-1], taught.locate(questions[::-1]), strict=True):
        check_same(answer, together[[q is question for q in questions].index(True)])
    assert taught.locate([]) == []


def test_what_follows_a_closed_box_does_not_matter(taught: Grounder, questions: list[Question]) -> None:
    """Processes that decode together go on until the last of them has closed its boxes."""
    expected = taught.locate(questions)
    asked: list[int] = []

    def another_is_open(flag: torch.Tensor) -> bool:
        assert flag.shape == () and flag.dtype == torch.bool
        assert not torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        asked.append(1)
        return True

    processor = taught.encoder.processor
    sharded = Grounder(taught.model, processor, taught.contract, taught.batch, any_process=another_is_open)
    for answer, wanted in zip(sharded.locate(questions), expected, strict=True):
        check_same(answer, wanted)
    assert len(asked) % MAX_BOX_TOKENS == 0 and asked


def plain_inputs(grounder: Grounder, question: Question, said: str) -> Any:
    """The question as the library's processor alone writes it, with the host's resized images."""
    chat = messages(
        grounder.contract,
        question.expression,
        question.template is not None,
        question.visual_prompt_xyxy is not None,
    )
    processor = grounder.encoder.processor
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    images = grounder.encoder.images(question)
    return processor(text=[text + said], images=images, do_resize=False, return_tensors="pt")


@torch.no_grad()
def test_visible_is_the_share_of_true_against_false(taught: Grounder, questions: list[Question]) -> None:
    true, false = (taught.tokenizer(text, add_special_tokens=False).input_ids for text in (" true", " false"))
    for question, answer in zip(questions, taught.locate(questions), strict=True):
        logits = taught.model(**plain_inputs(taught, question, JSON.start)).logits[0, -1]
        yes, no = float(logits[true[0]]), float(logits[false[0]])
        assert answer.visible == pytest.approx(1 / (1 + np.exp(no - yes)), abs=1e-4)


def test_numbers_and_their_confidence_are_those_of_transformers_generate(
    taught: Grounder, questions: list[Question]
) -> None:
    read = 0
    for question, answer in zip(questions, taught.locate(questions), strict=True):
        inputs = plain_inputs(taught, question, JSON.start + JSON.forced_prefix)
        out = taught.model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=MAX_BOX_TOKENS,
            return_dict_in_generate=True,
            output_scores=True,
        )
        tokens = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        texts = [taught.tokenizer.decode([token]) for token in tokens]
        length = next((index for index, text in enumerate(texts) if "]" in text), len(texts))
        assert answer.text == "".join(texts[:length])
        digits = [index for index in range(length) if texts[index] in tuple("0123456789")]
        logs = [float(out.scores[index][0].log_softmax(-1)[tokens[index]]) for index in digits]
        assert answer.box_confidence == pytest.approx(np.exp(np.mean(logs)), abs=1e-3)
        read += answer.box_xyxy is not None
    assert read >= 3


def test_no_box_is_decoded_where_surely_nothing_is_visible(
    taught: Grounder, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = taught.locate(questions)
    monkeypatch.setattr(taught, "box_threshold", 0.5)
    spared = taught.locate(questions)
    assert 0 < sum(answer.visible < 0.5 for answer in whole) < len(questions)
    for before, after in zip(whole, spared, strict=True):
        if before.visible < 0.5:
            assert dataclasses.replace(before, box_xyxy=None, box_confidence=0.0, text="") == after
        else:
            check_same(before, after)
    monkeypatch.setattr(taught, "box_threshold", 1.1)
    assert all(answer.box_xyxy is None for answer in taught.locate(questions))


@pytest.mark.parametrize(("text", "confidence"), [("7", 1.0), (" ", 0.0), (",", 0.0)])
def test_a_box_that_never_closes_is_none(
    taught: Grounder, questions: list[Question], text: str, confidence: float
) -> None:
    with favouring(taught, text):
        answers = taught.locate(questions[:3])
    for answer in answers:
        assert answer.box_xyxy is None and answer.text == text * MAX_BOX_TOKENS
        assert answer.box_confidence == pytest.approx(confidence)


def test_a_box_that_closes_at_once_is_none(taught: Grounder, questions: list[Question]) -> None:
    with favouring(taught, "]}"):
        (answer,) = taught.locate(questions[:1])
    assert answer.box_xyxy is None and answer.text == "" and answer.box_confidence == 0


# ---- loading -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_grounder(tmp_path_factory.mktemp("weights") / "grounder", family=family)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to spoil."""
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def tokens_side(folder: Path) -> int:
    settings = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    return settings["patch_size"] * settings["merge_size"]


def load(checkpoint: Path | str, **settings: Any) -> Grounder:
    return Grounder.load(GrounderConfig(str(checkpoint), **settings), CPU)


def test_a_folder_holds_all_that_is_needed(folder: Path, family: str) -> None:
    grounder = load(folder, batch=3, box_threshold=0.25)
    assert grounder.contract == TINY[family].contract
    assert isinstance(grounder.model, FAMILIES[family].model_class())
    assert (grounder.batch, grounder.box_threshold) == (3, 0.25)
    assert not grounder.model.training and grounder.model.dtype == torch.float32
    assert load(folder, dtype="bfloat16").model.dtype == torch.bfloat16


def test_only_loading_changes_a_model(family: str, folder: Path) -> None:
    tiny = TINY[family]
    processor = tiny.build_processor()
    model = tiny.build_grounder(processor, width=32, layers=1, vision_layers=1).train()
    kinds = [type(module) for module in model.modules()]
    Grounder(model, processor, tiny.contract)
    assert model.training and [type(module) for module in model.modules()] == kinds
    block = load(folder).model.model.visual.blocks[0]
    assert isinstance(block.attn, WindowAttention) == (family == "qwen2_5_vl")


def test_half_precision_answers(folder: Path) -> None:
    (answer,) = load(folder, dtype="bfloat16", box_threshold=0.0).locate([Question(noise(112, 112), "it")])
    assert 0 < answer.visible < 1


def _change_config(folder: Path, **text_config: Any) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings["text_config"] |= text_config
    (folder / "config.json").write_text(json.dumps(settings))


def _lose_a_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights[next(name for name in weights if name.endswith("mlp.up_proj.weight"))]
    save_file(weights, path, metadata={"format": "pt"})


def _only_a_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def _link_to_itself(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("model.safetensors")


def _integers(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("mlp.up_proj.weight"))
    save_file({**weights, name: weights[name].int()}, path, metadata={"format": "pt"})


def _only_a_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda path: (path / "config.json").unlink(), "no config.json"),
    "half a config": (lambda path: (path / "config.json").write_text('{"model_'), "config.json is damaged"),
    "another model": (
        lambda path: (path / "config.json").write_text('{"model_type": "sam2_video"}'),
        "holds a 'sam2_video' model; one of qwen2_5_vl, qwen3_5, qwen3_vl is needed",
    ),
    "no weights": (lambda path: (path / "model.safetensors").unlink(), "model.safetensors"),
    "a pickle": (_only_a_pickle, "safetensors"),
    "weights cut short": (_cut, "model.safetensors is cut short"),
    "weights that link to themselves": (_link_to_itself, "model.safetensors is cut short or no safetensors"),
    "weights that are a folder": (_only_a_folder, "model.safetensors is cut short or no safetensors"),
    "integers": (_integers, r"holds .*mlp\.up_proj\.weight as I32, but weights are floating-point"),
    "a weight lacking": (_lose_a_weight, r"1 weights are missing.*mlp\.up_proj\.weight"),
    "weights of another size": (
        lambda path: _change_config(path, intermediate_size=64),
        "the shapes of the weights",
    ),
    "no tokenizer": (lambda path: (path / "tokenizer.json").unlink(), "tokenizer"),
    "no processor": (lambda path: (path / "processor_config.json").unlink(), "image processor"),
    "no chat template": (lambda path: (path / "chat_template.jinja").unlink(), "chat_template.jinja"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", SPOILT)
def test_a_spoilt_folder_is_refused_in_one_line(fault: str, copy: Path) -> None:
    spoil, words = SPOILT[fault]
    load(copy)
    spoil(copy)
    with pytest.raises(UserError, match=words) as refusal:
        load(copy)
    line = str(refusal.value)
    assert line.startswith(f"model.checkpoint={copy}") and "\n" not in line


def test_integers_are_taken_where_they_have_a_reason(copy: Path) -> None:
    """Buffers that count or index, and the weights of a quantized checkpoint."""
    path = copy / "model.safetensors"
    buffers = {"position_ids": torch.arange(3), "norm.num_batches_tracked": torch.tensor(3)}
    save_file({**load_file(path), **buffers}, path, metadata={"format": "pt"})
    check_checkpoint("model.checkpoint", str(copy), tuple(FAMILIES))
    _integers(copy)
    settings = json.loads((copy / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "bitsandbytes"}
    (copy / "config.json").write_text(json.dumps(settings))
    check_checkpoint("model.checkpoint", str(copy), tuple(FAMILIES))


@pytest.mark.parametrize("name", ["weights/of/nobody", "/nowhere", "./nowhere", "nowhere"])
def test_a_missing_folder_is_named(name: str) -> None:
    with pytest.raises(UserError, match="no such folder") as refusal:
        load(name)
    assert f"model.checkpoint={name}" in str(refusal.value)


def test_what_cannot_be_fetched_says_what_to_do() -> None:
    with pytest.raises(UserError, match="without a network") as refusal:
        load("nobody-of-this-name/no-model", contract="qwen")
    assert "\n" not in str(refusal.value)


def test_a_tokenizer_that_splits_the_decision_is_refused(copy: Path) -> None:
    """Then no single probability says whether the target is visible."""
    path = copy / "tokenizer.json"
    settings = json.loads(path.read_text())
    vocabulary = settings["model"]["vocab"]
    vocabulary["Ġnever"] = vocabulary.pop("Ġtrue")
    settings["model"]["merges"] = [pair for pair in settings["model"]["merges"] if "".join(pair) != "Ġtrue"]
    path.write_text(json.dumps(settings))
    with pytest.raises(UserError, match="splits ' true'"):
        load(copy)


def test_a_tokenizer_without_one_of_its_tokens_is_refused(copy: Path) -> None:
    path = copy / "tokenizer.json"
    settings = json.loads(path.read_text())
    merges = settings["model"]["merges"]
    parts = {part for pair in merges for part in pair}
    gone = next(pair for pair in merges if "".join(pair) not in parts)
    merges.remove(gone)
    number = settings["model"]["vocab"].pop("".join(gone))
    path.write_text(json.dumps(settings))
    with pytest.raises(UserError, match=rf"has no token of id {number}; restore tokenizer\.json"):
        load(copy)


# ---- contracts -----------------------------------------------------------------------------------


def test_a_contract_of_another_family_is_refused(copy: Path) -> None:
    (copy / CONTRACT_FILE).unlink()
    known = {name for name, contract in BUILT_IN.items() if contract.side_multiple == tokens_side(copy)}
    assert known
    for name in BUILT_IN:
        if name not in ("instruct", "instruct3", "short"):
            continue  # of published checkpoints, whose answers need their vocabulary
        if name in known:
            assert load(copy, contract=name).contract == BUILT_IN[name]
        else:
            with pytest.raises(UserError, match="take a contract of the model's own family"):
                load(copy, contract=name)


def test_an_unknown_contract_is_refused(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"model\.contract=tall: choose one of auto, instruct, instruct3, short, qwen"
    ):
        load(folder, contract="tall")


def test_a_contract_that_differs_names_the_keys(copy: Path) -> None:
    write_contract(copy, dataclasses.replace(BUILT_IN["short"], digits=4, prompt_scale=2.5))
    assert find_contract(GrounderConfig(str(copy))).digits == 4
    with pytest.raises(UserError, match=r"contract\.json in digits, prompt_scale; leave"):
        load(copy, contract="short")


def test_the_same_contract_may_be_named(tmp_path: Path) -> None:
    folder = save_grounder(tmp_path)
    assert load(folder, contract="short").contract == BUILT_IN["short"]


@pytest.mark.parametrize(
    ("checkpoint", "contract"),
    [
        ("Qwen/Qwen2.5-VL-3B-Instruct", "qwen"),
        ("Qwen/Qwen2.5-VL-72B-Instruct", "qwen"),
        ("Qwen/Qwen3-VL-4B-Instruct", "qwen3"),
    ],
)
def test_qwens_own_checkpoints_are_read_by_their_familys_contract(checkpoint: str, contract: str) -> None:
    assert find_contract(GrounderConfig(checkpoint)) == BUILT_IN[contract]


def test_no_contract_is_guessed_for_other_models_on_the_hub() -> None:
    with pytest.raises(UserError, match=r"Qwen/Qwen2-VL-7B-Instruct: has no contract\.json"):
        find_contract(GrounderConfig("Qwen/Qwen2-VL-7B-Instruct"))


def test_a_hub_id_of_another_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hub id, the kind is known from its configuration, before any weight is fetched."""
    fetched = Qwen2VLConfig().to_dict()
    monkeypatch.setattr("models.checkpoint.PreTrainedConfig.get_config_dict", lambda _name: (fetched, {}))
    with pytest.raises(UserError, match="holds a 'qwen2_vl' model; one of qwen2_5_vl, qwen3_5, qwen3_vl"):
        load("Qwen/Qwen2-VL-7B-Instruct", contract="qwen")


def test_code_that_a_hub_ids_settings_ask_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = {"model_type": "qwen2_5_vl", "auto_map": {"AutoConfig": "evil.Config"}}
    monkeypatch.setattr("models.checkpoint.PreTrainedConfig.get_config_dict", lambda _name: (fetched, {}))
    with pytest.raises(UserError, match=r"config\.json asks for code by auto_map, which is never run"):
        load("somebody/qwen", contract="qwen")
