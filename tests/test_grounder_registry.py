"""Grounders are found by the class of their settings; a file outside the packages adds one."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import UserError
from configs.plugins import PACKAGE, VARIABLE, load_plugins
from infer.config import InferSettings
from infer.runs.checks import check_settings
from models.commands.doctor import doctor
from models.config import GROUNDERS, NANO, GrounderConfig
from models.config_checks import require_multimodal_llm
from models.families import FAMILIES, PUBLISHED_SIZES, register_family
from models.families.family import RESERVED_OPTIONS
from models.grounder.grounder import Grounder
from models.grounder.registry import REGISTERED, check_grounder, load_grounder, register_grounder
from models.mask_head.config import MASK_HEADS
from tests.registries import forget_later
from train.__main__ import _run as train
from train.config import TrainSettings
from train.sft.recipes import NANO_LORA

CPU = torch.device("cpu")

REDDEST = '''
"""Grounder `reddest`: the box of all red pixels, whatever the expression says."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.schema import key
from data_prep.contract.contract import Contract
from models.config import GroundingConfig
from models.grounder.registry import register_grounder
from models.interfaces import Answer, GroundingStatistics, Identity, Question


@dataclass(frozen=True)
class ReddestConfig(GroundingConfig):
    """Settings of `model=reddest`."""

    min_red: int = key(200, "value of red from which a pixel counts", minimum=0, maximum=255)


class Reddest:
    contract = Contract(shows_template=False, draws_prompt=False)

    def __init__(self, config: ReddestConfig) -> None:
        self.config, self.statistics = config, GroundingStatistics()

    def check_expression(self, expression: str) -> None:
        """Every expression can be asked for."""

    def locate(self, questions: list[Question]) -> list[Answer]:
        return [self._answer(question.image) for question in questions]

    def _answer(self, image: np.ndarray) -> Answer:
        red, green = image[..., 0], image[..., 1]
        rows, columns = ((red >= self.config.min_red) & (green < 128)).nonzero()
        if not len(rows):
            return Answer(0.0, None, 0.0, "")
        box = float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)
        return Answer(1.0, box, 1.0, "")

    def identity(self) -> Identity:
        return {"checkpoint": "reddest", "dtype": "uint8", "min_red": self.config.min_red}


def check(config: ReddestConfig) -> None:
    if config.checkpoint != "none":
        raise UserError(f"model.checkpoint={config.checkpoint}: this grounder has no weights")


@register_grounder(check=check, reddest=ReddestConfig(checkpoint="none"))
def load(config: ReddestConfig, device: Any) -> Reddest:
    return Reddest(config)
'''


@pytest.fixture
def reddest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The settings of a grounder in a file outside the packages, as `plugins=[reddest.py]` imports it."""
    path = tmp_path / "reddest.py"
    path.write_text(REDDEST)
    monkeypatch.setenv(VARIABLE, "")
    forget_later(monkeypatch, REGISTERED)
    load_plugins([f"plugins=[{path}]"])
    yield GROUNDERS["reddest"]
    RESERVED_OPTIONS.remove("reddest")
    del sys.modules[f"{PACKAGE}.reddest"]


def test_the_class_of_settings_selects_the_grounder(reddest: Any) -> None:
    assert list(GROUNDERS) == [*REGISTERED, *PUBLISHED_SIZES] and len(GROUNDERS) == len(list(GROUNDERS))
    assert {type(GROUNDERS[name]) for name in ("nano", *PUBLISHED_SIZES)} == {GrounderConfig}
    assert isinstance(load_grounder(NANO, CPU), Grounder)
    check_grounder(dataclasses.replace(reddest, min_red=3))
    assert load_grounder(dataclasses.replace(reddest, min_red=3), CPU).identity()["min_red"] == 3


def test_a_plugin_is_checked_before_it_is_loaded(reddest: Any) -> None:
    with pytest.raises(UserError, match=r"model\.checkpoint=some: this grounder has no weights"):
        check_settings(InferSettings(model=dataclasses.replace(reddest, checkpoint="some")))


def test_names_of_grounders_and_of_sizes_are_distinct(reddest: Any) -> None:
    size = dataclasses.replace(next(iter(PUBLISHED_SIZES.values())), model_type="toy_vl")
    family = dataclasses.replace(next(iter(FAMILIES.values())), model_type="toy_vl", sizes={"reddest": size})
    with pytest.raises(ValueError, match="model=reddest is a registered grounder already"):
        register_family(family)
    with pytest.raises(ValueError, match="model=qwen2_5_vl_3b is a size of qwen2_5_vl already"):
        register_grounder(qwen2_5_vl_3b=reddest)(lambda config, device: None)  # type: ignore[arg-type]


def test_the_doctor_examines_a_plugin(
    reddest: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(reddest, MASK_HEADS["nano"], tmp_path, CPU) == 0
    said = capsys.readouterr().out
    assert "identity     checkpoint reddest, dtype uint8, min_red 200" in said and "whole question" in said


@pytest.mark.parametrize("task", ["train", "merge", "info"])
def test_training_takes_multimodal_llms_only(reddest: Any, task: str, tmp_path: Path) -> None:
    settings = TrainSettings(task=task, recipe=NANO_LORA, model=reddest, out=str(tmp_path / "out"))
    with pytest.raises(UserError, match=f"model=reddest: task={task} is for multimodal LLMs only") as one:
        train(settings)
    assert "\n" not in str(one.value)
    assert require_multimodal_llm(NANO, "task=train") is NANO
