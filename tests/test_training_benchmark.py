"""The pieces of the benchmark of training: the same work for both sides, and what is told of it."""

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from benchmarks import training
from benchmarks.training_parts import DECODED, PARTS, gains
from benchmarks.training_sides import ours, theirs, trl_settings
from benchmarks.training_work import Run, Work, save_random, small_work
from models.config import GrounderConfig
from models.families import PUBLISHED_SIZES, PublishedSize
from models.families.qwen2_5_vl import text_config
from models.grounder.grounder import Grounder
from models.kernels.qwen2_5_vl import WindowAttention
from tests.tiny_models import save_grounder
from train.sft.model import GrounderForTraining


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Two steps of two pairs for a model of one layer, on three rendered videos."""
    root = tmp_path_factory.mktemp("work")
    small = small_work(root, steps=3, batch=2, workers=0)
    train_data = dataclasses.replace(small.recipe.train_data, videos=3)
    recipe = dataclasses.replace(small.recipe, train_data=train_data)
    return dataclasses.replace(small, checkpoint=save_grounder(root / "model"), recipe=recipe)


def test_both_sides_begin_with_the_same_loss(work: Work) -> None:
    mine, other = ours(work), theirs(work)
    assert len(mine.losses) == len(other.losses) == 3
    assert training._agree(work, mine, other) < 1e-5
    assert all(seconds > 0 for run in (mine, other) for seconds in (*run.seconds, *run.processor))


def test_every_part_is_taken_away_and_put_back(work: Work) -> None:
    before = WindowAttention.forward, GrounderForTraining._predictions
    told = gains(work, 2)
    assert told.keys() == {*PARTS, DECODED} and all(times > 0 for times in told.values())
    assert before == (WindowAttention.forward, GrounderForTraining._predictions)


def test_differing_losses_end_the_benchmark(work: Work) -> None:
    one, other = (Run((1.0,), (1.0,), (loss,)) for loss in (1.0, 1.001))
    with pytest.raises(SystemExit, match="first losses differ"):
        training._agree(work, one, other)


def test_rates_are_of_the_median_step_after_the_first() -> None:
    run = Run((9.0, 9.0, 2.0, 4.0, 2.0), (9.0, 9.0, 1.0, 1.0, 1.0), (0.0,) * 5)
    assert run.timed(8) == (4.0, 8.0)


def test_trl_is_told_the_same_settings(work: Work) -> None:
    settings = trl_settings(work)
    recipe = work.recipe
    assert settings.per_device_train_batch_size * settings.gradient_accumulation_steps == recipe.batch
    assert settings.dataloader_num_workers == recipe.workers
    assert settings.gradient_checkpointing == recipe.gradient_checkpointing
    assert settings.max_steps == 3 and not settings.bf16


def test_random_weights_of_a_published_form_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = {
        "depth": 2,
        "hidden_size": 64,
        "num_heads": 2,
        "intermediate_size": 96,
        "fullatt_block_indexes": [1],
    }
    published = PUBLISHED_SIZES["qwen2_5_vl_3b"].config
    text = text_config(256, 1, 2, 1, 96, 1000, True)
    config = {
        **published,
        "text_config": {**published["text_config"], **text},
        "vision_config": {**published["vision_config"], **tower, "out_hidden_size": 256},
    }
    monkeypatch.setitem(PUBLISHED_SIZES, "tiny", PublishedSize("qwen2_5_vl", "tiny", 0, config))
    save_random("tiny", tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).text_config.vocab_size == 1000
    grounder = Grounder.load(
        GrounderConfig(str(tmp_path), contract="instruct", dtype="bfloat16"), torch.device("cpu")
    )
    assert grounder.model.config.image_token_id == grounder.encoder.processor.image_token_id
