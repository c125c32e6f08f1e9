"""The recipe `nano_grounder`: the small Qwen2.5-VL, from scratch, in the rendered world.

First the vision tower alone learns what every token shows; then language model and tower learn
together which thing the words mean. Images come from pools rendered beforehand (`frame_pool`), and
several questions share each picture, so it is seen once for all of them. What step n asks follows
from the seed and n alone; the loop saves its whole state and goes on from it.
"""

import copy
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.errors import UserError
from data_prep.contract.chat import answer_text
from data_prep.contract.contract import BUILT_IN, write_contract
from data_prep.geometry import Size
from data_prep.sampling.images import size_of
from data_prep.world.presets import PRESETS, TRAINING_SEEDS
from models.config import GrounderConfig
from models.grounder.forward import VisionFeatures, encode_images, forward
from models.grounder.grounder import Grounder
from models.grounder.model import QwenVL, apply_fast_kernels
from models.grounder.nano import build_grounder, build_processor
from models.grounder.questions import Encoded, QuestionEncoder
from models.interfaces import Question
from train.loop.schedule import warmup_stable_decay
from train.pairs import IGNORED, label_answers
from train.scratch.config import GrounderRecipe, GrounderStage
from train.scratch.curriculum import Curriculum
from train.scratch.frame_pool import AnnotatedFrame, FramePool, PoolSpec, open_pool
from train.scratch.grounder_losses import (
    LookHead,
    MatchHead,
    NamedHead,
    TokenMetrics,
    TokenWeights,
    look_loss,
    match_loss,
    named_loss,
    search_tokens,
    token_metrics,
    weighted_loss,
)
from train.scratch.grounder_metrics import GrounderMetrics, evaluate_grounder
from train.scratch.questions import QuestionMix, Sample, sample_questions

EVALUATE_BATCH = 32


class GrounderTraining(Curriculum[QwenVL, GrounderStage]):
    """The small grounder and where it stands in the curriculum."""

    def __init__(self, recipe: GrounderRecipe, out: Path, device: torch.device) -> None:
        super().__init__(recipe, out, device)
        _check_layers(recipe)
        self.contract = BUILT_IN[recipe.contract]
        self.processor = build_processor()
        self.encoder = QuestionEncoder(self.processor, self.contract)
        self.model = build_grounder(
            self.processor, recipe.width, recipe.layers, recipe.vision_layers, recipe.seed
        )
        if recipe.initial:
            self._start_from(recipe.initial)
        apply_fast_kernels(self.model)
        self.model.to(device)  # type: ignore[arg-type]  # transformers loses the signature of `to`
        self.model.train()
        self.weights = TokenWeights(self.processor.tokenizer, self.contract.format, recipe.decision_weight)
        self.look_head = LookHead(recipe.width).to(device)
        self.match_head = MatchHead(recipe.width).to(device)
        self.named_head = NamedHead(recipe.width).to(device)
        self.optimizer = torch.optim.AdamW(
            [weight for part in self.learners().values() for weight in part.parameters()],
            lr=1e-3,
            betas=(0.9, 0.95),
            weight_decay=recipe.weight_decay,
        )
        self._pools: dict[tuple[str, int, int], FramePool] = {}

    def _start_from(self, folder: str) -> None:
        """Take over the weights of an earlier grounder.

        Raises UserError for one of other sizes or of another contract.
        """
        earlier = Grounder.load(GrounderConfig(folder, dtype="float32"), torch.device("cpu"))
        if earlier.contract != self.contract:
            raise UserError(f"recipe.initial={folder}: its contract.json is not that of recipe.contract")
        try:
            self.model.load_state_dict(earlier.model.state_dict())
        except RuntimeError:
            raise UserError(
                f"recipe.initial={folder}: has other sizes; "
                "set recipe.width, .layers and .vision_layers to its own"
            ) from None

    def learners(self) -> dict[str, torch.nn.Module]:
        """What has weights: the model, and the auxiliary heads that are thrown away at the end."""
        return {
            "model": self.model,
            "look_head": self.look_head,
            "match_head": self.match_head,
            "named_head": self.named_head,
        }

    def parts(self) -> dict[str, Any]:
        """Everything with a state: the learners and the optimizer."""
        return {**super().parts(), **self.learners()}

    def save_weights(self, folder: Path) -> None:
        """Write the checkpoint that inference reads, its weights in half precision to be small."""
        copy.deepcopy(self.model).half().save_pretrained(folder)
        self.processor.tokenizer.backend_tokenizer.no_padding()  # how a batch was padded is nobody's concern
        self.processor.save_pretrained(folder)
        write_contract(folder, self.contract)

    # ---- data --------------------------------------------------------------------------------

    def pool(self, preset: str, first: int, count: int) -> FramePool:
        """Shots `first` … of a preset; runs beside this one share what was drawn."""
        key = preset, first, count
        if key not in self._pools:
            kind = PoolSpec(preset, self.contract, self.size(preset))
            with self.stop.immediate():  # drawing takes many minutes, and nothing was learned meanwhile
                pools = self.out.parent / "pools"
                self._pools[key] = open_pool(pools, kind, first, count, self.recipe.workers)
        return self._pools[key]

    def size(self, preset: str) -> Size:
        """Size (width, height) of a preset's frames after resizing."""
        return self.encoder.resized_size(PRESETS[preset].size)

    def shots(self, stage: GrounderStage, step: int) -> list[AnnotatedFrame]:
        """The pictures of a step: every epoch takes each picture of a pool once, in another order."""
        turn, place = divmod(step, len(stage.presets))
        pool = self.pool(stage.presets[place], 0, stage.images)
        count = len(pool)
        places = range(turn * stage.batch, (turn + 1) * stage.batch)
        return [pool[epoch_order(self.recipe.seed, at // count, count)[at % count]] for at in places]

    # ---- one step ----------------------------------------------------------------------------

    def take_step(self) -> dict[str, float]:
        """Draw, forward, backward, update; returns the losses."""
        stage, index = self.stage_at(self.step)
        share = warmup_stable_decay(index, stage.steps, self.recipe.warmup_steps, stage.decay)
        self.set_rate(stage.learning_rate * share)
        rng = np.random.default_rng((self.recipe.seed, self.step))
        shots = self.shots(stage, index)
        samples = sample_questions(rng, shots, stage.questions if stage.language else 1, question_mix(stage))
        losses = self.losses(samples, stage.language)
        self.update(sum(losses.values(), torch.zeros(())), self.recipe.max_grad_norm)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def losses(self, samples: Sequence[Sample], language: bool = True) -> dict[str, torch.Tensor]:
        """Losses of a batch by name, weighted: what is seen, what is matched, what is answered."""
        answers = [
            answer_text(self.contract, sample.box_resized, size_of(sample.shot.image)) for sample in samples
        ]
        encoded = self.encoder.encode([sample.question for sample in samples], answers).to(self.device)
        features = encode_images(self.model, encoded.inputs["pixel_values"], encoded.inputs["image_grid_thw"])
        losses = {"look": self.recipe.look_weight * self._look_loss(samples, encoded, features)}
        if not language:
            return losses
        labels = label_answers(encoded.inputs["input_ids"].cpu(), answers, self.processor.tokenizer)
        kept = int((labels != IGNORED).sum(1).max()) + 1
        output = forward(
            self.model, encoded, features, use_cache=False, logits_to_keep=kept, output_hidden_states=True
        )
        weights = self.weights(labels).to(self.device)
        losses["answer"] = weighted_loss(output.logits, labels.to(self.device), weights)
        named, matched = (
            self._search_tokens(encoded, output.hidden_states[layer])
            for layer in (self.recipe.named_layer, self.recipe.match_layer)
        )
        losses["named"] = self.recipe.named_weight * named_loss(self.named_head, named, samples)
        losses["match"] = self.recipe.match_weight * match_loss(
            self.match_head, matched, samples, encoded.resized[0]
        )
        return losses

    def _look_loss(
        self, samples: Sequence[Sample], encoded: Encoded, features: list[VisionFeatures]
    ) -> torch.Tensor:
        """Of every search picture once, however many questions share it."""
        shots = {shown[-1]: sample.shot for shown, sample in zip(encoded.shown, samples, strict=True)}
        looked_at = torch.stack([features[index].tokens for index in shots])
        return look_loss(self.look_head, looked_at, list(shots.values()))

    def _search_tokens(self, encoded: Encoded, hidden: torch.Tensor) -> torch.Tensor:
        """The search images' part of hidden states: (batch, length, width) to (batch, tokens, width)."""
        (width, height), side = encoded.resized[0], self.contract.side_multiple
        count = (width // side) * (height // side)
        positions = search_tokens(encoded.inputs["input_ids"], self.model.config.image_token_id, count)
        return hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))

    @torch.no_grad()
    def evaluate(self) -> GrounderMetrics | TokenMetrics:
        """Figures on held-out scenes of the current stage's first world: of what the stage teaches."""
        stage, _ = self.stage_at(self.step - 1)
        count = self.recipe.evaluate_samples
        pool = self.pool(stage.presets[0], TRAINING_SEEDS, count)
        shots = [pool[index] for index in range(count)]
        if not stage.language:
            return self._look_figures(shots)
        samples = sample_questions(np.random.default_rng(0), shots, 1, question_mix(stage))
        self.model.eval()
        figures = evaluate_grounder(
            Grounder(self.model, self.processor, self.contract, batch=EVALUATE_BATCH), samples
        )
        self.model.train()
        return figures

    def _look_figures(self, shots: Sequence[AnnotatedFrame]) -> TokenMetrics:
        """What the vision tower tells of each token; `EVALUATE_BATCH` pictures at a time."""
        features = []
        for start in range(0, len(shots), EVALUATE_BATCH):
            questions = [Question(shot.image, "") for shot in shots[start : start + EVALUATE_BATCH]]
            inputs = self.encoder.encode(questions, "").to(self.device).inputs
            features += encode_images(self.model, inputs["pixel_values"], inputs["image_grid_thw"])
        looked_at = torch.stack([seen.tokens for seen in features])
        return token_metrics(self.look_head, looked_at, shots)


def _check_layers(recipe: GrounderRecipe) -> None:
    """Raises UserError where an auxiliary loss asks after a layer that the model has not."""
    for name in ("named_layer", "match_layer"):
        if not 1 <= (layer := getattr(recipe, name)) <= recipe.layers:
            raise UserError(f"recipe.{name}={layer}: the model has layers 1 to {recipe.layers}")


@lru_cache(maxsize=2)  # a batch may reach over the end of an epoch
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order (count,) in which an epoch takes the pictures of a pool."""
    return np.random.default_rng((seed, epoch, count)).permutation(count)


def question_mix(stage: GrounderStage) -> QuestionMix:
    """The kinds of question a stage asks."""
    return QuestionMix(stage.absent, stage.template, stage.marked, plain=stage.plain)


def train_grounder(recipe: GrounderRecipe, out: Path, device: torch.device) -> None:
    """Train to the end of the curriculum, or go on where an earlier run of it stopped."""
    GrounderTraining(recipe, out, device).run()
