"""The recipe `nano_grounder`: the small Qwen2.5-VL, from scratch, by stages from easy to harder worlds.

Words stand before the image and the worlds get harder in stages, because a small model learns
*which* thing is meant in no other way that was tried (see docs/training.md). The loop saves its
whole state and goes on from it; sample k of step n follows from the seed alone.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from configs.errors import UserError
from data_prep.files import whole_file
from data_prep.geometry import Box, rescale
from data_prep.prompts import BUILT_IN, Contract, answer_text, write_contract
from data_prep.world.presets import PRESETS
from models.grounder import Grounder
from models.nano import build_grounder, build_processor
from models.questions import SIDE_MULTIPLE, QuestionEncoder
from train.answers import IGNORED, TokenWeights, label_answers, weighted_loss
from train.auxiliary import TokenHead, search_tokens, token_loss
from train.config import GrounderRecipe, Stage
from train.grounder_figures import GrounderFigures, measure
from train.samples import Sample, SampleMix, draw_sample
from train.schedule import warmup_stable_decay

log = logging.getLogger(__name__)
HELD_OUT = 200_000_000  # evaluations take samples from here on, short of the next preset's seeds


class GrounderTraining:
    """Model, optimizer and position in the curriculum."""

    def __init__(self, recipe: GrounderRecipe, out: Path, device: torch.device) -> None:
        if not recipe.stages:
            raise UserError("recipe.stages is empty: list at least one stage")
        self.recipe, self.out, self.device = recipe, out, device
        self.contract = BUILT_IN[recipe.contract]
        self.processor = build_processor()
        self.model = build_grounder(self.processor, recipe.width, recipe.layers, recipe.layers, recipe.seed)
        self.model.to(device)  # type: ignore[arg-type]  # transformers loses the signature of `to`
        self.weights = TokenWeights(self.processor.tokenizer, recipe.decision_weight)
        self.token_head = TokenHead(recipe.width).to(device)
        self.optimizer = torch.optim.AdamW(
            [*self.model.parameters(), *self.token_head.parameters()],
            lr=1e-3,
            betas=(0.9, 0.95),
            weight_decay=recipe.weight_decay,
        )
        self.step = 0
        self.images = 0

    # ---- state -------------------------------------------------------------------------------

    @property
    def state_file(self) -> Path:
        """Everything needed to go on."""
        return self.out / "state.pt"

    def save_state(self) -> None:
        """Write weights, optimizer and position, whole or not at all."""
        state = {
            "recipe": dataclasses.asdict(self.recipe),
            "model": self.model.state_dict(),
            "token_head": self.token_head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "images": self.images,
        }
        with whole_file(self.state_file) as temporary:
            torch.save(state, temporary)

    def resume(self) -> None:
        """Go on from a saved state where there is one; refuses one of another curriculum."""
        if not self.state_file.is_file():
            return
        state = torch.load(self.state_file, map_location=self.device, weights_only=True)
        if state["recipe"] != dataclasses.asdict(self.recipe):
            raise UserError(f"{self.state_file}: was trained by other settings; take another name= or out=")
        self.model.load_state_dict(state["model"])
        self.token_head.load_state_dict(state["token_head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.images = state["step"], state["images"]
        log.info("going on from step %d of %s", self.step, self.state_file)

    def save_weights(self, folder: Path) -> None:
        """Write the checkpoint that inference reads: weights, processor and contract."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        write_contract(folder, self.contract)

    # ---- one step ----------------------------------------------------------------------------

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage that a step belongs to, and the step's number within it."""
        for stage in self.recipe.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError(step)

    def draw(self, stage: Stage, first: int, count: int, contract: Contract) -> list[Sample]:
        """Samples `first`, `first + 1`, … of a stage."""
        mix = SampleMix(stage.absent, stage.template, stage.marked, plain=stage.plain)
        preset = PRESETS[stage.preset]
        return [draw_sample(seed, preset, contract, mix) for seed in range(first, first + count)]

    def loss(self, samples: Sequence[Sample], contract: Contract) -> torch.Tensor:
        """The weighted cross-entropy of a batch's answers, and the auxiliary loss of its image tokens."""
        encoder = QuestionEncoder(self.processor, contract)
        boxes = [_resized_box(encoder, sample) for sample in samples]
        answers = [answer_text(contract, box) for box in boxes]
        encoded = encoder.encode([sample.question for sample in samples], answers)
        inputs = encoded.inputs.to(self.device)
        labels = label_answers(inputs["input_ids"].cpu(), answers, self.processor.tokenizer)
        kept = int((labels != IGNORED).sum(1).max()) + 1
        output = self.model(**inputs, use_cache=False, logits_to_keep=kept, output_hidden_states=True)
        loss = weighted_loss(output.logits, labels.to(self.device), self.weights(labels).to(self.device))
        resized = encoded.resized[0]
        grid = (resized[0] // SIDE_MULTIPLE, resized[1] // SIDE_MULTIPLE)
        positions = search_tokens(inputs["input_ids"], self.model.config.image_token_id, grid)
        hidden = output.hidden_states[self.recipe.layers // 2]
        auxiliary = token_loss(self.token_head, hidden, positions, boxes, grid, resized)
        return loss + self.recipe.token_weight * auxiliary

    def take_step(self) -> float:
        """Draw, forward, backward, update; returns the loss."""
        stage, index = self.stage_at(self.step)
        contract = stage_contract(self.contract, stage)
        for group in self.optimizer.param_groups:
            group["lr"] = stage.learning_rate * warmup_stable_decay(
                index, stage.steps, self.recipe.warmup_steps
            )
        loss = self.loss(self.draw(stage, self.images, stage.batch, contract), contract)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss is {float(loss)} at step {self.step}")
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.step += 1
        self.images += stage.batch
        return float(loss.detach())

    def evaluate(self) -> GrounderFigures:
        """Figures on held-out scenes of the current stage's world."""
        stage, _ = self.stage_at(self.step - 1)
        contract = stage_contract(self.contract, stage)
        samples = self.draw(stage, HELD_OUT, self.recipe.evaluate_samples, contract)
        figures = measure(Grounder(self.model, self.processor, contract, batch=32), samples)
        self.model.train()
        return figures


def _resized_box(encoder: QuestionEncoder, sample: Sample) -> Box | None:
    """The sample's box in pixels of its resized search image."""
    if sample.box_xyxy is None:
        return None
    height, width = sample.question.image.shape[:2]
    return rescale(sample.box_xyxy, (width, height), encoder.resized_size((width, height)))


def stage_contract(contract: Contract, stage: Stage) -> Contract:
    """The contract at a stage's own resolution."""
    if not stage.side_tokens:
        return contract
    pixels = (stage.side_tokens * SIDE_MULTIPLE) ** 2
    return dataclasses.replace(contract, min_pixels=pixels, max_pixels=pixels)


def train_grounder(recipe: GrounderRecipe, out: Path, device: torch.device) -> None:
    """Train to the end of the curriculum, or go on where an earlier run of it stopped."""
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    training = GrounderTraining(recipe, out, device)
    training.resume()
    training.model.train()
    total = sum(stage.steps for stage in recipe.stages)
    started, first, losses = time.monotonic(), training.step, []
    while training.step < total:
        losses.append(training.take_step())
        if training.step % recipe.log_every == 0:
            pace = (time.monotonic() - started) / (training.step - first)
            _log_line(out, training, sum(losses) / len(losses), pace, total)
            losses.clear()
        if training.step % recipe.evaluate_every == 0 or training.step == total:
            _log_figures(out, training)
        if training.step % recipe.checkpoint_every == 0 or training.step == total:
            training.save_state()
    training.save_weights(out / "model")
    log.info("weights in %s", out / "model")


def _log_line(out: Path, training: GrounderTraining, loss: float, pace: float, total: int) -> None:
    rate = training.optimizer.param_groups[0]["lr"]
    left = (total - training.step) * pace / 60
    log.info(
        "step %d/%d  loss %.4f  lr %.1e  %.0f ms/step  %d images  %.0f min left",
        *(training.step, total, loss, rate, pace * 1000, training.images, left),
    )
    _append(
        out / "metrics.jsonl", {"step": training.step, "images": training.images, "loss": loss, "lr": rate}
    )


def _log_figures(out: Path, training: GrounderTraining) -> None:
    figures = training.evaluate()
    log.info("step %d  held out: %s", training.step, figures)
    _append(out / "metrics.jsonl", {"step": training.step, **dataclasses.asdict(figures)})


def _append(path: Path, row: dict[str, float]) -> None:
    with path.open("a") as lines:
        lines.write(json.dumps(row) + "\n")
