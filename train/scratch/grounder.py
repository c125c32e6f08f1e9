"""The recipe `nano_grounder`: the small Qwen2.5-VL, from scratch, in the rendered world.

The first stage trains the vision tower alone, by a classification of image tokens; later stages train the
complete model on questions. Frames are rendered beforehand into pools (`frame_pool`). Several questions share
a frame, so that the vision tower encodes it once. The data of step n follow from the seed and n.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from configs.errors import UserError
from configs.launch.signals import StopSignal
from data_prep.contract.chat import answer_text
from data_prep.contract.contract import BUILT_IN
from data_prep.folders import whole_folder
from data_prep.geometry import Box, Size
from data_prep.sampling.images import size_of
from data_prep.world.presets import PRESETS, TRAINING_SEEDS
from models.config import GrounderConfig
from models.grounder.forward import VisionFeatures, encode_images, forward
from models.grounder.grounder import Grounder
from models.grounder.model import apply_fast_kernels
from models.grounder.nano import build_grounder, build_processor
from models.grounder.questions import Encoded, QuestionEncoder
from models.grounder.saving import save_checkpoint
from models.interfaces import Question
from train.loop.objective import Evaluation, StepMetrics
from train.loop.schedule import warmup_stable_decay
from train.loop.state_files import saving
from train.loop.strategies import Strategy
from train.pairs import IGNORED, encode_answers
from train.scratch.annotated_frames import AnnotatedFrame
from train.scratch.config import GrounderRecipe, GrounderStage
from train.scratch.frame_pool import FramePool, PoolSpec, open_pool
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
from train.scratch.grounder_metrics import evaluate_grounder
from train.scratch.questions import QuestionMix, Sample, sample_questions
from train.scratch.stages import EVAL_SET, StagedObjective, train_stages
from train.soft_labels import SoftLabels, sampled_box, soft_labels

EVALUATION_BATCH = 32


class GrounderObjective(StagedObjective[list[Sample], GrounderStage]):
    """The small grounder, with the auxiliary heads of its losses."""

    def __init__(
        self, recipe: GrounderRecipe, out: Path, strategy: Strategy, stop: StopSignal | None = None
    ) -> None:
        super().__init__(recipe, out, strategy, stop)
        _check_layers(recipe)
        for stage in recipe.stages:
            if stage.crop_share and stage.crops < stage.batch:
                raise UserError(f"recipe.stages: crops={stage.crops} are fewer than batch={stage.batch}")
        sizes = tuple(_search_size(text) for text in recipe.other_search_sizes)
        self.contract = replace(BUILT_IN[recipe.contract], other_search_sizes=sizes)
        self.processor = build_processor()
        self.encoder = QuestionEncoder(self.processor, self.contract)
        self._pools: dict[tuple[str, int, int, Size | None], FramePool] = {}

    # ---- model -------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the model and the auxiliary heads, whose weights follow from the seed."""
        recipe = self.recipe
        self.model = build_grounder(
            self.processor, recipe.width, recipe.layers, recipe.vision_layers, recipe.seed
        )
        if recipe.initial:
            self._load_initial(recipe.initial)
        apply_fast_kernels(self.model)
        self.model.train()
        self.weights = TokenWeights(self.processor.tokenizer, self.contract.format, recipe.decision_weight)
        self.look_head = LookHead(recipe.width)
        self.match_head = MatchHead(recipe.width)
        self.named_head = NamedHead(recipe.width)
        # One module, so that checkpoints hold the heads too.
        self.modules = nn.ModuleDict(
            {
                "model": self.model,
                "look_head": self.look_head,
                "match_head": self.match_head,
                "named_head": self.named_head,
            }
        )
        make_optimizer = partial(
            torch.optim.AdamW, lr=1e-3, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
        )
        self.strategy.prepare(self.modules, make_optimizer, [])
        self.device = self.strategy.accelerator.device

    def _load_initial(self, folder: str) -> None:
        """Load the weights of another grounder. Raises UserError if its sizes or its contract differ."""
        initial = Grounder.load(GrounderConfig(folder, dtype="float32"), torch.device("cpu"))
        # Other sizes can be learned.
        if replace(initial.contract, other_search_sizes=self.contract.other_search_sizes) != self.contract:
            raise UserError(f"recipe.initial={folder}: its contract.json is not that of recipe.contract")
        self.initial_weights = initial.model.state_dict()
        try:
            self.model.load_state_dict(self.initial_weights)
        except RuntimeError:
            raise UserError(
                f"recipe.initial={folder}: has other sizes; "
                "set recipe.width, .layers and .vision_layers to its own"
            ) from None

    def save_weights(self, folder: Path, step: int, evaluations: Mapping[str, Mapping[str, Any]]) -> None:  # noqa: ARG002
        """Write the checkpoint that inference reads, in half precision to be small, without the heads."""
        with saving(folder), whole_folder(folder) as temporary:
            # The tokenizer would save how the last batch was padded.
            self.processor.tokenizer.backend_tokenizer.no_padding()
            model = self.with_initial_share(self.model).half()
            save_checkpoint(temporary, model, self.processor, self.contract)

    # ---- data --------------------------------------------------------------------------------------

    def batches(self, steps: range) -> Iterator[list[Sample]]:
        """The questions of each step; those about the same image stand together."""
        for step in steps:
            stage, index = self.stage_at(step)
            rng = np.random.default_rng((self.recipe.seed, step))
            frames = self.frames(stage, index)
            yield sample_questions(rng, frames, stage.questions if stage.language else 1, question_mix(stage))

    def frames(self, stage: GrounderStage, step: int) -> list[AnnotatedFrame]:
        """The frames of a stage's step: whole ones, or crops.

        Of whole frames every epoch takes each one at most once, in another order; crops are drawn at random.
        """
        turn, number = divmod(step, len(stage.presets))  # steps take the presets in turn
        preset = stage.presets[number]
        rng = np.random.default_rng((self.recipe.seed, step, 2))
        if rng.random() < stage.crop_share:
            sizes = self.contract.search_sizes
            crops = self.pool(preset, 0, stage.crops, sizes[int(rng.integers(len(sizes)))])
            return [crops[int(index)] for index in rng.choice(len(crops), stage.batch, replace=False)]
        pool = self.pool(preset, 0, stage.images)
        # Frame `at` of the run is number `at % count` of epoch `at // count`.
        count = len(pool)
        places = range(turn * stage.batch, (turn + 1) * stage.batch)
        return [pool[epoch_order(self.recipe.seed, at // count, count)[at % count]] for at in places]

    def pool(self, preset: str, first: int, count: int, crop_size: Size | None = None) -> FramePool:
        """Frames `first` … of a preset, or crops of them. Runs with folders beside this one share them."""
        key = preset, first, count, crop_size
        if key not in self._pools:
            size = crop_size or self.resized_size(preset)
            spec = PoolSpec(preset, self.contract, size, crop=crop_size is not None)
            with self.stop.immediate():  # rendering takes many minutes, and there is nothing to save
                pools = self.out.parent / "pools"
                self._pools[key] = open_pool(pools, spec, first, count, self.recipe.workers)
        return self._pools[key]

    def resized_size(self, preset: str) -> Size:
        """Size (width, height) of a preset's frames after resizing."""
        return self.encoder.resized_size(PRESETS[preset].size)

    # ---- training step -----------------------------------------------------------------------------

    def take_step(self, batch: list[Sample], step: int) -> StepMetrics:
        """One optimizer step on the sum of the losses."""
        stage, index = self.stage_at(step)
        learning_rate = stage.learning_rate * warmup_stable_decay(
            index, stage.steps, self.recipe.warmup_steps, stage.decay
        )
        rng = np.random.default_rng((self.recipe.seed, step, 1))  # not the one that drew the questions
        losses = self.losses(batch, stage.language, rng)
        total = sum(losses.values(), torch.zeros(()))
        # The heads are thrown away after training, so only the gradients of the model are clipped.
        self.update(total, learning_rate, self.recipe.max_grad_norm, self.model.parameters())
        return StepMetrics({name: float(loss.detach()) for name, loss in losses.items()}, learning_rate)

    def losses(
        self, samples: Sequence[Sample], language: bool = True, rng: np.random.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The weighted losses of a batch, by name; only the first one if `language` is false.

        `rng` draws the coordinates that the model reads, if the recipe says so; None: it reads the true ones.
        """
        # 1. The vision tower, once for each distinct image, and the loss on its tokens.
        answers = [
            answer_text(self.contract, self._read_box(sample, rng), size_of(sample.frame.image))
            for sample in samples
        ]
        encoded, labels = encode_answers(self.encoder, [sample.question for sample in samples], answers)
        encoded = encoded.to(self.device)
        features = encode_images(self.model, encoded.inputs["pixel_values"], encoded.inputs["image_grid_thw"])
        losses = {"look": self.recipe.look_weight * self._look_loss(samples, encoded, features)}
        if not language:
            return losses
        # 2. The language model. Logits are computed for the columns of answers only, which are the last ones.
        kept = int((labels != IGNORED).sum(1).max()) + 1
        output = forward(
            self.model, encoded, features, use_cache=False, logits_to_keep=kept, output_hidden_states=True
        )
        weights = self.weights(labels).to(self.device)
        soft = self._soft_labels(samples, labels)
        losses["answer"] = weighted_loss(output.logits, labels.to(self.device), weights, soft)
        # 3. The auxiliary losses, on hidden states of the search frame's tokens.
        named, matched = (
            self._search_tokens(encoded, output.hidden_states[layer])
            for layer in (self.recipe.named_layer, self.recipe.match_layer)
        )
        losses["named"] = self.recipe.named_weight * named_loss(self.named_head, named, samples)
        losses["match"] = self.recipe.match_weight * match_loss(
            self.match_head, matched, samples, encoded.resized[0]
        )
        return losses

    def _read_box(self, sample: Sample, rng: np.random.Generator | None) -> Box | None:
        """The box whose coordinates the model reads in training: the target's, or one near it."""
        box, std = sample.box_resized, self.recipe.soft_label_std
        if box is None or rng is None or not (std and self.recipe.sample_answers):
            return box
        return sampled_box(rng, box, std)

    def _soft_labels(self, samples: Sequence[Sample], labels: torch.Tensor) -> SoftLabels | None:
        """The soft labels of a batch; None if the recipe has hard ones."""
        if not self.recipe.soft_label_std:
            return None
        boxes = [sample.box_resized for sample in samples]
        tokenizer, std = self.processor.tokenizer, self.recipe.soft_label_std
        return soft_labels(labels, tokenizer, self.contract.digits, std, boxes).to(self.device)

    def _look_loss(
        self, samples: Sequence[Sample], encoded: Encoded, features: list[VisionFeatures]
    ) -> torch.Tensor:
        """The loss on vision tokens of each search frame, once if several questions share it."""
        # The last image of a question is its search frame.
        frames = {
            shown[-1]: sample.frame for shown, sample in zip(encoded.image_indices, samples, strict=True)
        }
        tokens = torch.stack([features[index].tokens for index in frames])
        return look_loss(self.look_head, tokens, list(frames.values()))

    def _search_tokens(self, encoded: Encoded, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states of the search frame's tokens: (batch, length, width) -> (batch, tokens, width)."""
        (width, height), side = encoded.resized[0], self.contract.side_multiple
        count = (width // side) * (height // side)
        # A template comes before the search frame, so the last image tokens are the search frame's.
        positions = search_tokens(encoded.inputs["input_ids"], self.model.config.image_token_id, count)
        return hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))

    # ---- evaluation --------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, step: int) -> Evaluation:
        """Metrics of what the current stage trains, on held-out scenes of its first preset."""
        stage, _ = self.stage_at(step - 1)
        count = self.recipe.evaluate_samples
        # Scenes from TRAINING_SEEDS on are never used for training.
        pool = self.pool(stage.presets[0], TRAINING_SEEDS, count)
        frames = [pool[index] for index in range(count)]
        if not stage.language:
            return Evaluation([(EVAL_SET, self._token_metrics(frames))])
        # The same questions in every evaluation.
        samples = sample_questions(np.random.default_rng(0), frames, 1, question_mix(stage))
        model = self.with_initial_share(self.model).eval()
        grounder = Grounder(model, self.processor, self.contract, batch=EVALUATION_BATCH)
        return Evaluation([(EVAL_SET, evaluate_grounder(grounder, samples))])

    def _token_metrics(self, frames: Sequence[AnnotatedFrame]) -> TokenMetrics:
        """Metrics of the vision tower's classification of image tokens."""
        tokens = []
        for start in range(0, len(frames), EVALUATION_BATCH):
            questions = [Question(frame.image, "") for frame in frames[start : start + EVALUATION_BATCH]]
            inputs = self.encoder.encode(questions, "").to(self.device).inputs
            features = encode_images(self.model, inputs["pixel_values"], inputs["image_grid_thw"])
            tokens += [each.tokens for each in features]
        return token_metrics(self.look_head, torch.stack(tokens), frames)


def _search_size(text: str) -> Size:
    """A size of `recipe.other_search_sizes`. Raises UserError for a text that is none."""
    if not (match := re.fullmatch(r"(\d+)x(\d+)", text)):
        raise UserError(f"recipe.other_search_sizes: {text!r} is not WIDTHxHEIGHT, such as 280x280")
    return int(match[1]), int(match[2])


def _check_layers(recipe: GrounderRecipe) -> None:
    """Raise UserError if an auxiliary loss is on a layer that does not exist."""
    for name in ("named_layer", "match_layer"):
        if not 1 <= (layer := getattr(recipe, name)) <= recipe.layers:
            raise UserError(f"recipe.{name}={layer}: the model has layers 1 to {recipe.layers}")


@lru_cache(maxsize=2)  # a batch may reach over the end of an epoch
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order (count,) in which an epoch takes the frames of a pool."""
    return np.random.default_rng((seed, epoch, count)).permutation(count)


def question_mix(stage: GrounderStage) -> QuestionMix:
    """The mix of questions of a stage."""
    return QuestionMix(stage.absent, stage.template, stage.marked, plain=stage.plain)


def train_grounder(recipe: GrounderRecipe, out: Path, device: torch.device) -> None:
    """Train to the end of the last stage, or resume an earlier run. Raises Stopped if a signal ended it."""
    train_stages(GrounderObjective, recipe, out, device)
