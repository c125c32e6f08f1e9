"""Settings of supervised fine-tuning. Imports nothing heavy."""

from dataclasses import dataclass, replace

from configs.schema import key
from data_prep.contract.wordings import TRAINED_WORDINGS
from data_prep.readers import data_sets
from data_prep.sampling.settings import PairSettings
from models.families import PARTS
from train.loop.schedule import warmed_cosine

TRACKERS = ("tensorboard", "wandb", "trackio")
WORLD_SPLITS = ("train", "val", "test")
WORLDS = ("train", "other_look", "varied", "plain", "hard")


@dataclass(frozen=True)
class TuneSettings:
    """Which parameters are trained."""

    method: str = key(
        "lora",
        "lora: adapters; qlora: adapters on a model in four bits (needs bitsandbytes); full: all weights of "
        "the trained parts",
        choices=("lora", "qlora", "full"),
    )
    parts: list[str] = key(
        ["language_model"],
        "trained parts of the model: language_model, projector (image features to tokens), vision_tower",
        choices=PARTS,
    )
    rank: int = key(16, "method=lora: rank of the adapters", minimum=1)
    alpha: int = key(32, "method=lora: the adapters are scaled by alpha / rank", minimum=1)
    dropout: float = key(
        0.0, "method=lora: dropout probability of the inputs of adapters", minimum=0.0, maximum=1.0
    )
    tokens: list[str] = key(
        [],
        "new special tokens, such as ['<ref>','</ref>']; their embeddings are always trained; "
        "recipe.contract.wording must contain them",
    )


@dataclass(frozen=True)
class ContractSettings:
    """Changes of the contract, which is saved with the weights; null: as in the checkpoint."""

    wording: str | None = key(
        None, "wording of questions; tagged: with VPTracker's tokens", choices=TRAINED_WORDINGS
    )
    coordinates: str | None = key(
        None,
        "unit of coordinates: pixels of the resized image, or thousandths of its sides",
        choices=("resized", "thousand"),
    )
    digits: int | None = key(
        None, "number of digits to which coordinates are padded with zeros; 0: no padding", minimum=0
    )
    search_tokens: int | None = key(None, "largest number of image tokens of the search frame", minimum=1)
    template_tokens: int | None = key(None, "number of image tokens of the template", minimum=1)
    template_scale: float | None = key(None, "side of the template crop, in sides of the target", minimum=1.0)
    prompt_scale: float | None = key(
        None, "side of the visual prompt that inference draws, in sides of the last box", minimum=1.0
    )
    prompt_colour: str | None = key(None, "colour of the visual prompt, a name or #rrggbb")
    prompt_width: float | None = key(
        None,
        "line width of the visual prompt, as a share of the image's longer side",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass(frozen=True)
class PairSource:
    """Where pairs are sampled from: indexed data sets, or the rendered world."""

    data: list[str] = key(
        [], "indexed data sets (python -m data_prep task=index); empty: the rendered world", choices=data_sets
    )
    split: str = key("train", "split of the data sets; data=[]: train, val or test")
    splits: list[str] = key(
        [], "the split of each data set, as [vot_train,train]; empty: split= for all of them"
    )
    weights: list[float] = key([], "sampling weight of each data set; empty: equal weights")
    indexes: str = key("outputs/indexes", "folder of all indexes")
    world: str = key("other_look", "data=[]: preset of the rendered world", choices=WORLDS)
    videos: int = key(400, "data=[]: number of rendered videos", minimum=1)
    pairs: PairSettings = key(PairSettings(), "how pairs are sampled")

    @property
    def title(self) -> str:
        """A short name of the data for reports."""
        return "+".join(self.data or [self.world]) + f" {'+'.join(self.splits or [self.split])}"


CALIBRATION_PAIRS = PairSettings(visible=0.5, negative=0.4, template=0.5, marked=0.5)
"""Pairs as a tracker asks: with and without a rectangle and a template, and half about absent targets."""


@dataclass(frozen=True)
class CalibrateSettings:
    """`task=calibrate`: the pairs that the thresholds of trackers are fitted on."""

    data: PairSource = key(
        PairSource(split="val", videos=100, pairs=CALIBRATION_PAIRS), "data that the model was not trained on"
    )
    pairs: int = key(400, "number of pairs, and of questions to the model", minimum=1)
    seed: int = key(0, "seed of the pairs", minimum=0)
    overwrite: bool = key(
        False, "replace a calibration.json in the checkpoint's folder; false: write to out= instead"
    )


@dataclass(frozen=True)
class SftRecipe:
    """Fine-tuning `model=` to answer with the target's box, in the format of its contract."""

    name: str = key("sft", "name of the run and of its folder")
    tune: TuneSettings = key(TuneSettings(), "which parameters are trained")
    contract: ContractSettings = key(ContractSettings(), "changes of the contract")
    train_data: PairSource = key(PairSource(), "training pairs")
    evaluate: list[PairSource] = key(
        [PairSource(split="test", videos=100), PairSource(split="test", videos=100, world="train")],
        "evaluation sets, never trained on; best/ holds the weights with the best IoU on the first set",
    )
    evaluate_sampling: str = key(
        "own",
        "own: sample evaluation pairs by the settings of each set; train: by those of recipe.train_data",
        choices=("own", "train"),
    )
    # ---- optimization. The size of a step does not depend on the number of processes or micro-batches.
    pairs: int = key(16_000, "number of training pairs of the run", minimum=1)
    batch: int = key(32, "pairs of an optimizer step, over all processes", minimum=1)
    # A micro-batch is limited in both ways: pairs for small images, image tokens for large ones.
    micro_batch: int = key(
        32, "most pairs in a forward pass of a process; lower it if memory runs out", minimum=1
    )
    micro_tokens: int | None = key(
        6144,
        "most image tokens in a forward pass of a process (a single pair may have more); null: no limit",
        minimum=1,
    )
    learning_rate: float = key(2e-4, "peak learning rate", minimum=0.0)
    soft_label_std: float = key(
        0.06,
        "standard deviation of the soft labels of coordinates, in sides of the target; 0: hard labels",
        minimum=0.0,
        maximum=0.5,
    )
    schedule: str = key(
        "cosine",
        "learning rate after the warm-up: cosine (down to 0) or constant",
        choices=("cosine", "constant"),
    )
    warmup_ratio: float = key(0.03, "warm-up steps, as a share of all steps", minimum=0.0, maximum=1.0)
    weight_decay: float = key(0.0, "weight decay of AdamW", minimum=0.0)
    max_grad_norm: float = key(1.0, "norm to which gradients are clipped; 0: no clipping", minimum=0.0)
    # ---- memory and speed. The next three keys change the result only by rounding.
    gradient_checkpointing: bool = key(
        False, "gradient checkpointing: recompute activations in the backward pass; slower, less memory"
    )
    use_liger_kernel: bool = key(True, "use Liger's fused kernels, on a GPU and if liger-kernel is installed")
    packing: bool = key(
        True,
        "concatenate the samples of a micro-batch in one row, without padding; models with linear attention "
        "(Qwen3.5) are padded in any case",
    )
    seed: int = key(0, "seed of adapters, dropout and pairs")
    workers: int | None = key(
        None,
        "DataLoader workers of each training process; 0: none; null: 1 on a CPU; on a GPU its share of the "
        "cores, at most 8",
        minimum=0,
    )
    max_unreadable_share: float = key(
        0.01, "share of unreadable pairs above which the run ends with an error", minimum=0.0, maximum=1.0
    )
    # ---- logging, evaluation, checkpoints. The numbers are optimizer steps.
    log_every: int = key(10, "steps between log lines", minimum=1)
    report_to: list[str] = key(
        [],
        "experiment trackers in addition to metrics.jsonl; their packages must be installed",
        choices=TRACKERS,
    )
    evaluate_every: int = key(250, "steps between evaluations", minimum=1)
    evaluate_pairs: int = key(200, "pairs of each set in an evaluation", minimum=1)
    checkpoint_every: int = key(100, "steps between checkpoints", minimum=1)
    keep_checkpoints: int = key(2, "number of newest checkpoints that are kept", minimum=1)
    threads: int = key(1, "CPU threads of a process; 0: torch's default", minimum=0)

    @property
    def evaluation_sources(self) -> list[PairSource]:
        """The evaluation sets, with the pair settings that `evaluate_sampling` selects."""
        if self.evaluate_sampling == "own":
            return self.evaluate
        return [replace(source, pairs=self.train_data.pairs) for source in self.evaluate]

    @property
    def steps(self) -> int:
        """Optimizer steps of the run. Pairs that do not fill a step are not used."""
        return max(1, self.pairs // self.batch)

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warmup_steps = max(1, round(self.warmup_ratio * self.steps))
        # With a floor of 1, the part after the warm-up is constant.
        floor = 1.0 if self.schedule == "constant" else 0.0
        return self.learning_rate * warmed_cosine(step, self.steps, warmup_steps, floor)
