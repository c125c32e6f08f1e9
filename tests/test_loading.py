"""Loading a grounder: devices, dtypes, attention, quantization, and memory that runs out."""

import dataclasses
import shutil
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import BitsAndBytesConfig, Sam2VideoModel

from configs.errors import UserError
from models import devices
from models.config import GrounderConfig
from models.devices import (
    check_gpu,
    check_size_on_cpu,
    choose_device,
    choose_dtype,
    choose_training_dtype,
)
from models.families import FAMILIES, PUBLISHED_SIZES
from models.grounder import loading
from models.grounder.grounder import Grounder
from models.grounder.model import published_config
from models.interfaces import Answer, Question
from models.mask_head.sam2 import MaskHead
from tests.tiny_models import save_grounder, save_mask_head

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_grounder(tmp_path_factory.mktemp("grounder"), family=family)


@pytest.fixture(scope="module")
def grounder(folder: Path) -> Grounder:
    return Grounder.load(GrounderConfig(str(folder), batch=4, box_threshold=0.0), CPU)


@pytest.fixture(scope="module")
def adapters(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters with random weights on the small grounder."""
    model = Grounder.load(GrounderConfig(str(folder)), CPU).model
    torch.manual_seed(0)
    targets = r".*language_model.*\.(q_proj|up_proj)"
    model = get_peft_model(model, LoraConfig(r=2, target_modules=targets, init_lora_weights=False))
    saved = tmp_path_factory.mktemp("adapters")
    model.peft_config["default"].base_model_name_or_path = str(folder)
    model.save_pretrained(saved)
    shutil.copy(folder / "contract.json", saved)
    return saved


def frame(width: int = 96, height: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


def questions(count: int) -> list[Question]:
    image = frame()
    return [Question(image, f"thing {number}") for number in range(count)]


def same(answers: list[Answer], others: list[Answer]) -> bool:
    """Whether answers are equal up to rounding."""
    return [answer.text for answer in answers] == [answer.text for answer in others] and np.allclose(
        [answer.visible for answer in answers], [answer.visible for answer in others], atol=1e-5
    )


# ---- GPUs ----------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A GPU that only says what it is; the values may be changed."""
    about: dict[str, Any] = {"capability": (9, 0), "archs": ["sm_80", "sm_90", "compute_90"], "count": 1}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: about["count"])
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: about["archs"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: about["capability"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (40 << 30, 80 << 30))
    yield about


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_gpus_without_bfloat16_take_float16(
    gpu: dict[str, Any], capability: tuple[int, int], dtype: torch.dtype
) -> None:
    gpu |= {"capability": capability, "archs": ["sm_70", "sm_75", "sm_80", "sm_90"]}
    assert choose_dtype("auto", GPU) == dtype
    assert choose_dtype("float32", GPU) == torch.float32
    # Gradients do not fit into the range of float16.
    trained = torch.float32 if dtype == torch.float16 else torch.bfloat16
    assert choose_training_dtype("auto", GPU) == trained
    assert choose_dtype("auto", CPU) == choose_training_dtype("auto", CPU) == torch.float32


@pytest.mark.parametrize(
    ("archs", "capability", "runs"),
    [
        (["sm_80"], (8, 6), True),  # machine code runs on later GPUs of the same major version
        (["sm_86"], (8, 0), False),
        (["sm_80"], (9, 0), False),
        (["compute_80"], (12, 0), True),  # PTX is compiled for every later GPU
        (["compute_90"], (8, 0), False),
        (["sm_90a", "compute_90a"], (9, 0), True),
        (["sm_90a", "compute_90a"], (10, 0), False),
        (["sm_100f"], (10, 3), True),
        (["sm_80", "sm_90", "sm_100", "sm_120"], (7, 5), False),
        (["sm_37", "sm_120"], (12, 0), True),
        ([], (3, 5), True),  # unknown
    ],
)
def test_a_gpu_that_torch_was_not_built_for_is_one_line(
    gpu: dict[str, Any], archs: list[str], capability: tuple[int, int], runs: bool
) -> None:
    gpu |= {"archs": archs, "capability": capability}
    if runs:
        check_gpu(GPU)
        return
    with pytest.raises(UserError, match=r"cannot use Tesla, whose compute capability is") as fault:
        choose_dtype("auto", choose_device("auto"))
    assert "\n" not in str(fault.value) and ", ".join(archs) in str(fault.value)


# ---- a large model on a CPU ----------------------------------------------------------------------


def test_a_large_model_on_a_cpu_is_refused_with_its_cost() -> None:
    check_size_on_cpu("model.checkpoint", "small", PUBLISHED_SIZES["qwen2_5_vl_3b"].parameters, torch.float32)
    size = PUBLISHED_SIZES["qwen2_5_vl_7b"].parameters
    with pytest.raises(UserError) as fault:
        check_size_on_cpu("model.checkpoint", "large", size, torch.float32)
    assert "model.checkpoint=large: has 8.3 billion parameters" in str(fault.value)
    assert "31 GiB of memory" in str(fault.value) and "about 46 seconds" in str(fault.value)
    assert str(fault.value).endswith("ask for it with model.allow_cpu=true")


@pytest.mark.parametrize("size", ["qwen2_5_vl_7b", "qwen3_vl_2b"])
def test_parameters_are_counted_from_the_settings_alone(size: str, tmp_path: Path) -> None:
    published_config(size).save_pretrained(tmp_path)
    model_class = FAMILIES[PUBLISHED_SIZES[size].model_type].model_class()
    assert loading._count_parameters(model_class, str(tmp_path)) == PUBLISHED_SIZES[size].parameters


def test_a_grounder_above_the_limit_is_loaded_only_if_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "LARGE_ON_CPU", 10)
    with pytest.raises(UserError, match=r"has 0.0 billion parameters; on a CPU"):
        Grounder.load(GrounderConfig(str(folder)), CPU)
    assert Grounder.load(GrounderConfig(str(folder), allow_cpu=True), CPU).device == CPU


# ---- attention and quantization ------------------------------------------------------------------


def test_attention_is_as_asked_for(folder: Path, grounder: Grounder) -> None:
    assert grounder.model.config.text_config._attn_implementation == "sdpa"
    eager = Grounder.load(GrounderConfig(str(folder), attention="eager", box_threshold=0.0), CPU)
    assert eager.model.config.text_config._attn_implementation == "eager"
    assert same(eager.locate(questions(3)), grounder.locate(questions(3)))


def test_flash_attention_needs_its_package_and_a_gpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = GrounderConfig(str(folder), attention="flash_attention_2")
    with pytest.raises(UserError, match=r"model.attention=flash_attention_2: needs flash-attn; pip install"):
        Grounder.load(config, CPU)
    monkeypatch.setattr(loading, "find_spec", lambda name: object())
    with pytest.raises(UserError, match=r"needs a CUDA GPU, and bfloat16 or float16"):
        Grounder.load(config, CPU)


@contextmanager
def bitsandbytes(patch: pytest.MonkeyPatch, *supported: str) -> Iterator[None]:
    """A stand-in for the package, which says that it supports these devices."""
    module = types.ModuleType("bitsandbytes")
    module.supported_torch_devices = set(supported)  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "bitsandbytes", module)
    patch.setattr(loading, "find_spec", lambda name: object())
    patch.setattr(BitsAndBytesConfig, "post_init", lambda self: None)
    yield


def test_quantized_loading_is_asked_of_the_library(
    monkeypatch: pytest.MonkeyPatch, gpu: dict[str, Any]
) -> None:
    four = GrounderConfig("mine", quantization="4bit")
    with pytest.raises(UserError, match=r"=4bit: needs bitsandbytes; pip install .* take none"):
        loading._options(four, CPU, None)
    with bitsandbytes(monkeypatch, "cuda"):
        with pytest.raises(UserError, match=r"does not support device=cpu; update it"):
            loading._options(four, CPU, None)
        options = loading._options(four, GPU, None)
        assert options["quantization_config"].load_in_4bit and options["device_map"] == {"": GPU}
        eight = loading._options(dataclasses.replace(four, quantization="8bit"), GPU, None)
        assert eight["quantization_config"].load_in_8bit
        assert "model.visual" in eight["quantization_config"].llm_int8_skip_modules
    assert "quantization_config" not in loading._options(GrounderConfig("mine"), GPU, None)


def test_adapters_stay_beside_quantized_weights(
    folder: Path, adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the weights stay in float32, so that both ways give the same answers."""
    config = GrounderConfig(str(adapters), box_threshold=0.0)
    merged = Grounder.load(config, CPU)
    assert not any(isinstance(module, LoraLayer) for module in merged.model.modules())
    options = loading._options

    def asked_for(*arguments: Any) -> dict[str, Any]:
        return {**options(*arguments), "quantization_config": None}

    monkeypatch.setattr(loading, "_options", asked_for)
    attached = Grounder.load(config, CPU)
    assert sum(isinstance(module, LoraLayer) for module in attached.model.modules()) >= 2
    assert isinstance(attached.model, type(merged.model))
    assert same(attached.locate(questions(2)), merged.locate(questions(2)))


# ---- several GPUs --------------------------------------------------------------------------------


def test_a_device_map_is_auto_with_several_gpus_only(gpu: dict[str, Any]) -> None:
    auto = GrounderConfig("mine", device_map="auto")
    assert loading._options(auto, CPU, None)["device_map"] == {"": CPU}
    assert loading._options(auto, GPU, None)["device_map"] == {"": GPU}
    gpu["count"] = 2
    assert loading._options(GrounderConfig("mine"), GPU, None)["device_map"] == {"": GPU}
    options = loading._options(auto, GPU, None)
    assert options["device_map"] == "auto" and options["max_memory"] == {0: 34 << 30, 1: 34 << 30}
    with pytest.raises(UserError, match=r"device=cuda:1: names one GPU, and model.device_map=auto uses all"):
        loading._options(auto, torch.device("cuda:1"), None)


# A split that a machine without GPUs has too: weights on the disk are read when they are used.
TWO_DEVICES = {
    "model.visual": "disk",
    "model.language_model.embed_tokens": "cpu",
    "model.language_model.layers": "disk",
    "model.language_model.norm": "cpu",
    "model.language_model.rotary_emb": "cpu",
    "lm_head": "cpu",
}


def test_a_model_that_is_split_answers_as_a_whole_one(
    folder: Path, grounder: Grounder, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = loading._options

    def split(*arguments: Any) -> dict[str, Any]:
        return {**options(*arguments), "device_map": TWO_DEVICES}

    monkeypatch.setattr(loading, "_options", split)
    with pytest.raises(UserError, match=r"GiB of weights do not fit into the free memory of"):
        Grounder.load(GrounderConfig(str(folder)), CPU)
    monkeypatch.setattr(loading, "_check_placement", lambda checkpoint, model: None)
    halves = Grounder.load(GrounderConfig(str(folder), box_threshold=0.0), CPU)
    assert next(halves.model.model.language_model.layers.parameters()).device.type == "meta"
    assert halves.device == CPU and loading.is_split(halves.model) and not loading.is_split(grounder.model)
    assert halves.model.device.type == "meta"  # that of the first weight, where questions must not go
    assert same(halves.locate(questions(3)), grounder.locate(questions(3)))


def test_a_mask_head_is_read_straight_to_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, maps = save_mask_head(tmp_path), []
    read = Sam2VideoModel.from_pretrained

    def spy(*arguments: Any, device_map: Any, **named: Any) -> Any:
        maps.append(device_map)
        return read(*arguments, **named)  # this machine has no such device

    monkeypatch.setattr(Sam2VideoModel, "from_pretrained", spy)
    MaskHead.load(str(folder), GPU)
    assert maps == [{"": GPU}]


# ---- memory that runs out ------------------------------------------------------------------------


@contextmanager
def room_for(grounder: Grounder, most: int) -> Iterator[list[int]]:
    """While it lasts, memory suffices for so many rows of a batch; the sizes of batches that were tried."""
    tried: list[int] = []

    def check(module: Any, arguments: Any, named: dict[str, Any]) -> None:
        rows = len(named["input_ids"])
        if named["input_ids"].shape[1] > 1:  # not a step of decoding
            tried.append(rows)
        if rows > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    hook = grounder.model.register_forward_pre_hook(check, with_kwargs=True)
    batch = grounder.batch
    try:
        yield tried
    finally:
        hook.remove()
        grounder.batch = batch


def test_a_batch_that_does_not_fit_is_halved_and_the_run_goes_on(grounder: Grounder) -> None:
    whole = grounder.locate(questions(5))
    with room_for(grounder, 1) as tried:
        with pytest.warns(UserWarning, match=r"2 questions at .* set model.batch=1") as told:
            answers = grounder.locate(questions(5))
        assert len(told) == 1 and grounder.batch == 1
        assert tried == [4, 2, 1, 1, 1, 1, 1]
        with warnings.catch_warnings():  # it is not tried again, and said once
            warnings.simplefilter("error")
            grounder.locate(questions(2))
        assert tried[7:] == [1, 1]
    assert same(answers, whole)


def test_a_single_question_that_does_not_fit_names_what_helps(grounder: Grounder) -> None:
    with room_for(grounder, 0) as tried, pytest.raises(UserError) as fault:
        grounder.locate(questions(2))
    assert tried == [2, 1] and "memory does not suffice for a single question; take" in str(fault.value)
    assert "model.quantization=4bit" in str(fault.value)
    assert "search_tokens" not in str(fault.value)  # this contract has one size


@pytest.mark.parametrize("in_training", [False, True])
def test_a_lack_of_memory_names_keys_that_the_command_takes(grounder: Grounder, in_training: bool) -> None:
    contract = dataclasses.replace(grounder.contract, search_size=(0, 0))
    one = Grounder(grounder.model, grounder.encoder.processor, contract, in_training=in_training)
    with room_for(one, 0), pytest.raises(UserError, match="for a single question; take ") as fault:
        one.locate(questions(1))
    remedy = str(fault.value).split("; take ")[1]
    keys = ("recipe.contract.search_tokens=", "recipe.tune.method=qlora")
    if in_training:
        assert all(key in remedy for key in keys) and "mask_head" not in remedy
    for name in ("search_tokens", "quantization"):
        assert (f"model.{name}=" in remedy) is not in_training


def test_weights_that_do_not_fit_into_memory_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Sam2VideoModel, "from_pretrained", fail)
    with pytest.raises(
        UserError, match=r"^mask_head\.checkpoint=.*: memory does not suffice for the weights"
    ):
        MaskHead.load(str(save_mask_head(tmp_path)), CPU)


def test_an_allocation_of_torch_that_fails_is_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError) as fault:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert devices.is_out_of_memory(fault.value)


def test_other_faults_are_not_taken_for_a_lack_of_memory(grounder: Grounder) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("shapes do not match")

    hook = grounder.model.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match=r"shapes do not match"):
            grounder.locate(questions(2))
    finally:
        hook.remove()


def test_processes_that_share_weights_do_not_halve_on_their_own(folder: Path, grounder: Grounder) -> None:
    shared = Grounder(
        grounder.model, grounder.encoder.processor, grounder.contract, any_process=lambda flag: bool(flag)
    )
    with room_for(shared, 1), pytest.raises(torch.OutOfMemoryError):
        shared.locate(questions(2))
