"""The recipe `nano_grounder`: the small Qwen2.5-VL, from scratch, by stages from easy to harder worlds.

Words stand before the image and the worlds get harder in stages, because a small model learns
*which* thing is meant in no other way that was tried (see docs/training.md). The loop saves its
whole state and goes on from it; sample k of step n follows from the seed alone.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from data_prep.geometry import Box, rescale
from data_prep.prompts import BUILT_IN, Contract, answer_text, write_contract
from data_prep.world.presets import PRESETS
from models.grounder import Grounder
from models.nano import build_grounder, build_processor
from models.questions import SIDE_MULTIPLE, QuestionEncoder
from train.answers import IGNORED, TokenWeights, label_answers, weighted_loss
from train.auxiliary import TokenHead, search_tokens, token_loss
from train.config import GrounderRecipe, Stage
from train.curriculum import Curriculum
from train.grounder_figures import GrounderFigures, measure
from train.samples import Sample, SampleMix, draw_sample
from train.schedule import warmup_stable_decay

HELD_OUT = 200_000_000  # evaluations take samples from here on, short of the next preset's seeds


class GrounderTraining(Curriculum[Qwen2_5_VLForConditionalGeneration, Stage]):
    """The small grounder and where it stands in the curriculum."""

    def __init__(self, recipe: GrounderRecipe, out: Path, device: torch.device) -> None:
        super().__init__(recipe, out, device)
        self.contract = BUILT_IN[recipe.contract]
        self.processor = build_processor()
        self.model = build_grounder(self.processor, recipe.width, recipe.layers, recipe.layers, recipe.seed)
        self.model.to(device)  # type: ignore[arg-type]  # transformers loses the signature of `to`
        self.model.train()
        self.weights = TokenWeights(self.processor.tokenizer, recipe.decision_weight)
        self.token_head = TokenHead(recipe.width).to(device)
        self.optimizer = torch.optim.AdamW(
            [*self.model.parameters(), *self.token_head.parameters()],
            lr=1e-3,
            betas=(0.9, 0.95),
            weight_decay=recipe.weight_decay,
        )

    def parts(self) -> dict[str, Any]:
        """The auxiliary head goes along with model and optimizer."""
        return {**super().parts(), "token_head": self.token_head}

    def save_weights(self, folder: Path) -> None:
        """Write the checkpoint that inference reads: weights, processor and contract."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        write_contract(folder, self.contract)

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

    def take_step(self) -> dict[str, float]:
        """Draw, forward, backward, update; returns the loss."""
        stage, index = self.stage_at(self.step)
        contract = stage_contract(self.contract, stage)
        self.set_rate(stage.learning_rate * warmup_stable_decay(index, stage.steps, self.recipe.warmup_steps))
        samples = self.draw(stage, self.first_sample(self.step), stage.batch, contract)
        loss = self.loss(samples, contract)
        self.update(loss, self.recipe.clip)
        return {"loss": float(loss.detach())}

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
    GrounderTraining(recipe, out, device).run()
