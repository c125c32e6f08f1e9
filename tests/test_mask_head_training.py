"""The mask head's training: batches of the rendered world, losses, and a loop that goes on by itself."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from configs.errors import UserError
from data_prep.geometry import iou, mask_iou
from models.interfaces import MaskResult
from models.mask_head.memory_bank import MemoryBank
from models.mask_head.sam2 import MaskHead
from models.mask_head.sam2_forward import MaskDecoderOutput
from models.mask_head.sam2_model import build_processor, nano_config
from tests.objectives import built, cpu_strategy
from train.loop.checkpoints import Checkpoints
from train.loop.trainer import Trainer
from train.scratch import mask_head
from train.scratch.config import MaskHeadRecipe, MaskHeadStage
from train.scratch.mask_head import UNUSED, MaskHeadObjective, train_mask_head
from train.scratch.mask_head_data import sample_clips, sample_stills
from train.scratch.mask_head_losses import boundary_band, dice_loss, mask_losses, mean_losses, soft_iou
from train.scratch.mask_head_metrics import (
    FrameFigures,
    evaluate_mask_head,
    figures_of_box,
    figures_of_clip,
    frame_figures,
)

CPU = torch.device("cpu")
RECIPE = MaskHeadRecipe(
    stages=[
        MaskHeadStage(image_size=64, steps=3, still_share=1.0, still_batch=2),
        MaskHeadStage(
            image_size=96,
            steps=3,
            still_share=0.5,
            still_batch=2,
            clip_batch=1,
            clip_frames=3,
            clip_reach=20,
        ),
    ],
    warmup_steps=2,
    log_every=2,
    checkpoint_every=2,
    evaluate_every=100,
    evaluate_scenes=2,
)


def stage(**changes: Any) -> MaskHeadStage:
    """The last stage of the recipe with changes."""
    return dataclasses.replace(RECIPE.stages[-1], **changes)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


# ---- batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("crop_share", [0.0, 1.0])
def test_stills_show_what_their_boxes_hold(crop_share: float) -> None:
    processor = build_processor(nano_config(64))
    recipe = dataclasses.replace(RECIPE, jitter=0.0, empty=0.0, still_boxes=3, mask_scale=1)
    of_crops = stage(still_batch=2, crop_share=crop_share)
    batch = sample_stills(np.random.default_rng(0), of_crops, recipe, processor)
    assert batch.pixels.shape == (1, 2, 3, 64, 64)
    assert batch.masks.shape == (1, 2, 3, 16, 16) and batch.boxes_resized.shape == (2, 3, 4)
    assert bool(batch.present.all())
    for mask, box in zip(batch.masks.flatten(0, 2), batch.boxes_resized.flatten(0, 1), strict=True):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        left, top, right, bottom = (float(side) / 4 for side in box)
        assert (
            left - 1 <= columns.min()
            and columns.max() <= right
            and top - 1 <= rows.min()
            and rows.max() <= bottom
        )
        assert 0 < mask.sum() <= (right - left) * (bottom - top) * 1.01, "shares add up to the area in cells"


def test_crops_show_their_objects_larger() -> None:
    recipe = dataclasses.replace(RECIPE, empty=0.0, still_boxes=1)
    shares = [
        float(
            sample_stills(
                np.random.default_rng(seed),
                stage(still_batch=8, crop_share=share, presets=["small"]),
                recipe,
                build_processor(nano_config(64)),
            ).masks.mean()
        )
        for share in (0.0, 1.0)
        for seed in range(2)
    ]
    assert min(shares[2:]) > 4 * max(shares[:2])


def test_empty_boxes_are_called_absent() -> None:
    recipe = dataclasses.replace(RECIPE, empty=1.0)
    batch = sample_stills(
        np.random.default_rng(1), stage(still_batch=6), recipe, build_processor(nano_config(64))
    )
    assert batch.present.mean() < 0.5
    assert float(batch.masks[batch.present == 0].max()) < 0.5


def test_targets_of_clips_are_seen_first_and_some_leave() -> None:
    recipe = dataclasses.replace(RECIPE, absence_share=1.0)
    of_six = stage(clip_batch=30, clip_frames=6)
    batch = sample_clips(np.random.default_rng(2), of_six, recipe, build_processor(nano_config(64)))
    assert batch.pixels.shape == (6, 30, 3, 64, 64) and batch.present.shape == (6, 30, 2)
    assert bool(batch.present[0].all())
    absent = 1 - batch.present[1:].mean((0, 1))
    assert 0.15 < absent[0] < 0.8 and absent[1] < 0.1, "the first is the one that the scene is about"
    assert not torch.equal(batch.pixels[0], batch.pixels[1])


def test_neighbouring_stills_show_one_scene_at_several_times() -> None:
    recipe = dataclasses.replace(RECIPE, scene_frames=3, still_boxes=1, jitter=0.0, empty=0.0)
    batch = sample_stills(
        np.random.default_rng(4),
        stage(still_batch=7, presets=["plain"]),
        recipe,
        build_processor(nano_config(64)),
    )
    frames = batch.pixels[0].mean((1, 2, 3))
    assert len(frames) == 7
    # The mean of a frame of the preset `plain`, whose camera stands still, hardly changes within a scene.
    apart = (frames[1:] - frames[:-1]).abs()
    assert [bool(each < 0.05) for each in apart] == [True, True, False, True, True, False]
    assert not torch.equal(batch.pixels[0, 0], batch.pixels[0, 1])


def test_masks_are_finer_than_the_decoder_where_the_recipe_says_so() -> None:
    processor = build_processor(nano_config(64))
    coarse, fine = (
        sample_stills(
            np.random.default_rng(0), stage(), dataclasses.replace(RECIPE, mask_scale=scale), processor
        ).masks
        for scale in (1, 4)
    )
    assert coarse.shape[-2:] == (16, 16) and fine.shape[-2:] == (64, 64)
    assert torch.allclose(F.avg_pool2d(fine.flatten(0, 1), 4), coarse.flatten(0, 1), atol=1e-2)


def test_boxes_are_as_imprecise_as_asked() -> None:
    processor = build_processor(nano_config(64))
    exact, imprecise = (
        sample_stills(
            np.random.default_rng(0),
            stage(still_batch=12),
            dataclasses.replace(RECIPE, jitter=jitter),
            processor,
        )
        for jitter in (0.0, 0.12)
    )
    boxes = zip(*(batch.boxes_resized.flatten(0, 1).tolist() for batch in (exact, imprecise)), strict=True)
    overlaps = [iou(one, other) for one, other in boxes]
    assert 0.55 < min(overlaps) < 0.8 and max(overlaps) > 0.9
    assert float(imprecise.boxes_resized.min()) >= 0 and float(imprecise.boxes_resized.max()) <= 64


# ---- losses --------------------------------------------------------------------------------------


def decoded(logits: torch.Tensor, ious: list[list[float]], score: list[float]) -> MaskDecoderOutput:
    tokens = torch.zeros(len(logits), 1, 4)
    return MaskDecoderOutput(logits, torch.tensor(ious), torch.tensor(score), tokens)


def test_dice_and_iou_of_known_masks() -> None:
    half = torch.zeros(1, 4, 4)
    half[:, :2] = 1.0
    assert float(dice_loss(half, half)) == pytest.approx(0)
    assert float(dice_loss(1 - half, half)) == pytest.approx(1 - 1 / 17)
    assert float(soft_iou(half - 0.5, half)) == 1
    assert float(soft_iou(torch.ones(1, 4, 4), half)) == 0.5
    assert float(soft_iou(-torch.ones(1, 4, 4), torch.zeros(1, 4, 4))) == 0


def test_only_the_best_mask_is_taught_and_all_predict_their_iou() -> None:
    truth = torch.zeros(1, 4, 4)
    truth[:, :2] = 1.0
    right, wrong = 20 * (truth - 0.5), 20 * (0.5 - truth)
    guess = decoded(torch.stack([right, wrong], dim=1), [[0.7, 0.1]], [5.0])
    losses = mask_losses(guess, truth, torch.ones(1), RECIPE)
    assert float(losses.bce) < 1e-3 and float(losses.dice) < 1e-3
    assert float(losses.iou) == pytest.approx((0.3 + 0.1) / 2, abs=1e-6)
    assert float(losses.overlap) == 1


def test_finer_masks_teach_where_in_a_cell_the_boundary_lies() -> None:
    """Two targets whose boundary is in the same cell of the decoder, at two places."""
    columns = torch.arange(16)
    logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    gradients = []
    for place in (5, 7):  # columns 4 to 7 are those of the second cell
        fine = (columns < place).float().expand(1, 16, 16)
        losses = mask_losses(decoded(logits, [[0.5]], [1.0]), fine, torch.ones(1), RECIPE)
        (gradient,) = torch.autograd.grad(losses.bce, logits)
        gradients.append(gradient[0, 0, 0])
    assert gradients[0][1] > gradients[1][1] and gradients[0].shape == (4,)
    # Logits that fall through 0 at the centre of the second cell end the enlarged mask there, at column 6.
    right = decoded(200 * (1 - torch.arange(4.0)).expand(1, 1, 4, 4), [[1.0]], [9.0])
    within = mask_losses(right, (columns < 6).float().expand(1, 16, 16), torch.ones(1), RECIPE)
    assert float(within.overlap) == 1 and float(within.bce) < 0.01


def test_the_band_lies_on_both_sides_of_the_true_boundary() -> None:
    mask = torch.zeros(1, 8, 8)
    mask[:, :, :4] = 1.0
    assert boundary_band(mask, 1)[0].sum(0).tolist() == [0, 0, 0, 8, 8, 0, 0, 0]
    assert boundary_band(mask, 2)[0].sum(0).tolist() == [0, 0, 8, 8, 8, 8, 0, 0]
    assert float(boundary_band(torch.zeros(1, 8, 8), 2).sum()) == 0, "nor is the border of the frame one"
    assert float(boundary_band(torch.ones(1, 8, 8), 2).sum()) == 0


def test_the_boundary_loss_weighs_targets_alike() -> None:
    """A small and a large target that are wrong by one cell all around."""
    recipe = dataclasses.replace(RECIPE, boundary_weight=2.0, boundary_width=1)

    def losses(side: int) -> Any:
        truth, found = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
        truth[:, 20 : 20 + side, 20 : 20 + side] = 1.0
        found[:, 19 : 21 + side, 19 : 21 + side] = 1.0
        return mask_losses(decoded(12 * (found[:, None] - 0.5), [[0.5]], [3.0]), truth, torch.ones(1), recipe)

    small, large = losses(6), losses(30)
    assert float(small.boundary) == pytest.approx(float(large.boundary), rel=0.15)
    assert float(large.bce) > 3 * float(small.bce)
    without = small.total(dataclasses.replace(recipe, boundary_weight=0.0))
    assert float(small.total(recipe) - without) == pytest.approx(2 * float(small.boundary))


def test_an_absent_target_teaches_the_score_alone() -> None:
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    guess = decoded(logits, [[0.5], [0.5]], [2.0, 2.0])
    losses = mask_losses(guess, torch.rand(2, 4, 4), torch.tensor([1.0, 0.0]), RECIPE)
    losses.total(RECIPE).backward()
    assert logits.grad is not None
    assert float(logits.grad[0].abs().sum()) > 0 and float(logits.grad[1].abs().sum()) == 0
    assert float(losses.score) == pytest.approx((np.log1p(np.exp(-2)) + np.log1p(np.exp(2))) / 2)
    assert float(losses.right) == 0.5


def test_a_mask_learns_although_the_score_says_absent() -> None:
    """Transformers' own step hides such a mask, and with it the gradient."""
    training = built(MaskHeadObjective, RECIPE)
    with torch.no_grad():
        training.model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(-9.0)
    batch = sample_stills(np.random.default_rng(0), stage(still_batch=2), RECIPE, training._processor(64))
    losses = training.still_losses(batch)
    assert float(losses.right) < 0.5
    losses.dice.backward()
    gradient = training.model.mask_decoder.mask_tokens.weight.grad
    assert gradient is not None and float(gradient.abs().sum()) > 0


# ---- the loop ------------------------------------------------------------------------------------


def test_a_few_steps_lower_the_loss_of_stills_and_clips() -> None:
    recipe = dataclasses.replace(RECIPE, still_boxes=2)
    training = built(MaskHeadObjective, recipe)
    rng = np.random.default_rng(0)
    stills = sample_stills(rng, stage(still_batch=2), recipe, training._processor(64))
    clips = sample_clips(rng, stage(clip_batch=1), recipe, training._processor(64))

    def losses() -> list[torch.Tensor]:
        kinds = training.still_losses(stills), training.clip_losses(clips, [True] * 3)
        return [kind.total(recipe) for kind in kinds]

    before = [float(loss.detach()) for loss in losses()]
    for _ in range(8):
        training.update(torch.stack(losses()).sum(), 1e-3, 1.0)
    after = [float(loss.detach()) for loss in losses()]
    assert after[0] < before[0] - 0.1 and after[1] < before[1] - 0.1


def test_every_trained_weight_moves_and_the_unused_stay() -> None:
    training = built(MaskHeadObjective, RECIPE)
    before = {name: weight.clone() for name, weight in training.model.state_dict().items()}
    clips = sample_clips(np.random.default_rng(0), stage(clip_batch=1), RECIPE, training._processor(64))
    training.model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(0.5)
    for score in (0.5, -0.5):  # believed present, and absent, so that both ways of remembering are learned
        training.model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(score)
        for _ in range(2):  # what a zero weight multiplies moves a step after it
            training.update(training.clip_losses(clips, [True] * 3).total(RECIPE), 1e-3, 1.0)
    after = training.model.state_dict()
    still = {name for name, _ in training.model.named_parameters() if torch.equal(before[name], after[name])}
    assert still == {name for name, _ in training.model.named_parameters() if name.startswith(UNUSED)}


def test_gradients_flow_through_the_memory() -> None:
    training = built(MaskHeadObjective, RECIPE)
    clips = sample_clips(np.random.default_rng(0), stage(clip_batch=1), RECIPE, training._processor(64))
    training.clip_losses(clips, [True] * 3).total(RECIPE).backward()
    weight = training.model.memory_encoder.projection.weight
    assert weight.grad is not None and float(weight.grad.abs().sum()) > 0


def test_frames_that_are_not_written_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[MemoryBank] = []
    condition_on_memory = mask_head.condition_on_memory
    monkeypatch.setattr(
        mask_head, "condition_on_memory", lambda *args: (seen.append(args[2]), condition_on_memory(*args))[1]
    )
    training = built(MaskHeadObjective, RECIPE)
    of_four = stage(clip_batch=1, clip_frames=4)
    clips = sample_clips(np.random.default_rng(0), of_four, RECIPE, training._processor(64))
    training.clip_losses(clips, [False, True, False, True])
    assert [memory.clock for memory in seen] == [0, 1, 2]
    assert [[time for time, _ in memory.recent_frames] for memory in seen] == [[], [1], [1]]


def test_clips_in_a_batch_do_not_touch_each_other() -> None:
    training = built(MaskHeadObjective, RECIPE)
    batch = sample_clips(np.random.default_rng(5), stage(clip_batch=3), RECIPE, training._processor(64))
    alone = []
    for index in range(3):
        part = slice(index, index + 1)
        single = dataclasses.replace(
            batch,
            pixels=batch.pixels[:, part],
            boxes_resized=batch.boxes_resized[part],
            masks=batch.masks[:, part],
            present=torch.ones_like(batch.present[:, part]),
        )
        alone.append(training.clip_losses(single, [True] * 3))
    together = training.clip_losses(
        dataclasses.replace(batch, present=torch.ones_like(batch.present)), [True] * 3
    )
    for name, value in vars(mean_losses(alone)).items():
        assert float(vars(together)[name].detach()) == pytest.approx(float(value.detach()), abs=1e-5), name


def trainer_of(out: Path, recipe: MaskHeadRecipe = RECIPE) -> Trainer[MaskHeadObjective]:
    return Trainer(MaskHeadObjective(recipe, out, cpu_strategy()), recipe, out)


def test_a_run_that_was_cut_ends_with_the_same_bits(tmp_path: Path) -> None:
    train_mask_head(RECIPE, tmp_path / "whole", CPU)
    for stop in (1, 3, 4):  # in the first stage, between the two, and in the second
        trainer_of(tmp_path / "cut").run(stop_after=stop)
        assert not (tmp_path / "cut" / "model").exists()
    train_mask_head(RECIPE, tmp_path / "cut", CPU)
    whole, cut = (
        torch.load(Checkpoints(tmp_path / name / "checkpoints", 2).path(6) / "state.pt", weights_only=True)[
            "weights"
        ]
        for name in ("whole", "cut")
    )
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    lines = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "bce" in line] == [1, 2, 3, 4, 6]
    assert {"box_iou", "carried_iou"} <= lines[-1].keys()
    loaded = MaskHead.load(str(tmp_path / "cut" / "model"), CPU)
    name = "mask_decoder.iou_token.weight"
    assert torch.allclose(loaded.model.state_dict()[name], cut[name], atol=1e-3)


def test_weights_and_optimizer_go_along_to_the_next_image_size() -> None:
    training = built(MaskHeadObjective, RECIPE)
    for step, batch in enumerate(training.batches(range(3))):
        training.take_step(batch, step)
    weights, moments = training.model.state_dict(), training.strategy.optimizer.state_dict()["state"]
    training._resize(96)
    assert training.model.image_size == 96
    assert all(torch.equal(weights[name], after) for name, after in training.model.state_dict().items())
    kept = training.strategy.optimizer.state_dict()["state"]
    assert kept.keys() == moments.keys() and len(kept) > 100
    assert all(torch.equal(moments[index]["exp_avg"], kept[index]["exp_avg"]) for index in kept)


def test_training_can_start_from_weights(tmp_path: Path) -> None:
    first = built(MaskHeadObjective, dataclasses.replace(RECIPE, seed=1))
    first.save_weights(tmp_path / "model", 0, {})
    second = built(MaskHeadObjective, dataclasses.replace(RECIPE, initial=str(tmp_path / "model")))
    given, taken = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(given[name].half().float(), taken[name]) for name in given)


def test_saved_and_evaluated_weights_are_a_mean_with_the_initial_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(MaskHeadObjective, dataclasses.replace(RECIPE, seed=1)).save_weights(tmp_path / "initial", 0, {})
    recipe = dataclasses.replace(RECIPE, initial=str(tmp_path / "initial"), initial_share=0.25)
    training, evaluated = built(MaskHeadObjective, recipe), []
    initial = {name: weight.clone() for name, weight in training.model.state_dict().items()}
    with torch.no_grad():
        for weight in training.model.parameters():
            weight.add_(1.0)
    training.save_weights(tmp_path / "model", 0, {})
    monkeypatch.setattr(mask_head, "evaluate_mask_head", lambda head, *_: evaluated.append(head.model))
    training.evaluate(0)
    saved = MaskHead.load(str(tmp_path / "model"), CPU).model.state_dict()
    for name, _ in training.model.named_parameters():
        assert torch.allclose(saved[name], initial[name] + 0.75, atol=2e-3), name
        assert torch.allclose(evaluated[0].state_dict()[name], saved[name], atol=2e-3), name
    assert (
        float((training.model.mask_decoder.iou_token.weight - initial["mask_decoder.iou_token.weight"]).min())
        > 0.9
    )
    with pytest.raises(UserError, match=r"initial_share needs recipe\.initial"):
        built(MaskHeadObjective, dataclasses.replace(RECIPE, initial_share=0.25))


def test_a_run_of_other_settings_is_refused(tmp_path: Path) -> None:
    trainer_of(tmp_path).run(stop_after=1)
    with pytest.raises(UserError, match=r"other settings .recipe\.jitter.; take another out="):
        train_mask_head(dataclasses.replace(RECIPE, jitter=0.2), tmp_path, CPU)


def test_the_state_of_an_earlier_version_is_not_started_over(tmp_path: Path) -> None:
    (tmp_path / "state.pt").touch()
    with pytest.raises(UserError, match=r"state\.pt: is of an earlier version and cannot be resumed"):
        train_mask_head(RECIPE, tmp_path, CPU)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


# ---- figures -------------------------------------------------------------------------------------


def test_iou_of_masks() -> None:
    truth = np.zeros((4, 4), bool)
    truth[:2] = True
    assert mask_iou(truth, truth) == 1
    assert mask_iou(np.ones((4, 4), bool), truth) == 0.5
    assert mask_iou(None, truth) == 0


def test_the_boundary_of_a_mask_counts_apart_from_its_area() -> None:
    truth = np.zeros((120, 120), bool)
    truth[30:90, 30:90] = True
    hollow = truth.copy()
    hollow[50:70, 50:70] = False

    def figures(mask: np.ndarray | None) -> FrameFigures:
        return frame_figures(MaskResult(mask, 0.9, 0.8, None), truth)

    assert (figures(truth).iou, figures(truth).boundary) == (1, 1)
    assert (figures(None).iou, figures(None).boundary) == (0, 0)
    # All of the true boundary is found (recall 1), and of the found one the outer 240 of about 320 pixels.
    assert figures(hollow).iou == pytest.approx(8 / 9)
    assert figures(hollow).boundary == pytest.approx(2 * 0.75 / 1.75, abs=0.02)


class BoxMasking:
    """A mask head whose masks are filled boxes, at the place of the first frame, or that sees nothing."""

    def __init__(self, absent: bool = False) -> None:
        self.absent = absent

    def encode(self, frame: np.ndarray) -> np.ndarray:
        return frame

    def segment(self, features: np.ndarray, boxes: Any, memories: Any) -> list[MaskResult]:
        ((left, top, right, bottom),) = boxes
        mask = np.zeros(features.shape[:2], bool)
        mask[int(top) : int(bottom), int(left) : int(right)] = True
        return [MaskResult(None if self.absent else mask, 0.8, 0.75, boxes)]

    def propagate(self, memories: Any, features: np.ndarray) -> list[MaskResult]:
        return self.segment(features, memories[0], memories)

    def identity(self) -> dict[str, Any]:
        return {}


def test_metrics_of_a_mask_head_that_fills_its_box() -> None:
    figures = [figures_of_box(BoxMasking(), "val", index, jitter=0.0) for index in range(4)]
    shown = [each for each in figures if each is not None]
    assert all(0.2 < each.iou <= 1 and each.found and each.shown for each in shown) and shown
    assert all(each.object_score == 0.8 and each.predicted_iou == 0.75 for each in shown)
    metrics = evaluate_mask_head(BoxMasking(), "val", scenes=4, frames=6, jitter=0.0)
    assert metrics.box_iou == pytest.approx(np.mean([each.iou for each in shown]))
    assert metrics.box_boundary == pytest.approx(np.mean([each.boundary for each in shown]))
    later = [each for index in range(1) for each in figures_of_clip(BoxMasking(), "val", index, 6, 0.0)]
    present = np.mean([each.shown for each in later])
    assert metrics.presence == pytest.approx(present)
    assert metrics.score_error == pytest.approx(abs(0.8 - present))
    silent = evaluate_mask_head(BoxMasking(absent=True), "val", scenes=2, frames=6, jitter=0.0)
    assert silent.box_iou == silent.box_boundary == silent.carried_boundary == 0
    assert silent.presence == pytest.approx(1 - present)


def test_the_shipped_mask_head_is_as_good_as_its_card_says() -> None:
    folder = Path(__file__).parents[1] / "models" / "weights" / "nano_mask_head"
    figures = evaluate_mask_head(MaskHead.load(str(folder), CPU), "val", scenes=12, frames=9)
    assert figures.box_iou > 0.75 and figures.carried_iou > 0.6, str(figures)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8 * 2**20
