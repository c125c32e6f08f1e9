"""Settings of supervised fine-tuning. Imports nothing heavy."""

from dataclasses import dataclass, replace

from configs.schema import key
from data_prep.data_sets import DATA_SETS
from data_prep.prompts import WORDINGS
from data_prep.sampling.settings import PairSettings
from models.families import PARTS

TRACKERS = ("tensorboard", "wandb", "trackio")
WORLD_SPLITS = ("train", "val", "test")
WORLDS = ("train", "other_look", "varied", "plain", "hard")


@dataclass(frozen=True)
class TuneSettings:
    """Which weights learn."""

    method: str = key(
        "lora",
        "lora; qlora: lora on weights held in four bits (needs bitsandbytes); full: the weights themselves",
        choices=("lora", "qlora", "full"),
    )
    parts: list[str] = key(
        ["language_model"],
        "what learns: language_model, projector (from a picture's features to its tokens), vision_tower",
        choices=PARTS,
    )
    rank: int = key(16, "method=lora: rank of the adapters", minimum=1)
    alpha: int = key(32, "method=lora: their scale is alpha / rank", minimum=1)
    dropout: float = key(
        0.0, "method=lora: share of an adapter's inputs that are dropped", minimum=0.0, maximum=1.0
    )
    tokens: list[str] = key(
        [],
        "new special tokens, as ['<ref>','</ref>']; their embeddings learn whatever else does. The wording "
        "(recipe.teach.wording) must hold them",
    )


@dataclass(frozen=True)
class TeachSettings:
    """What of the contract is taught anew, and saved with the weights; null: as the checkpoint carries it."""

    wording: str | None = key(
        None, "texts of a question; tagged: with VPTracker's tokens", choices=tuple(WORDINGS)
    )
    coordinates: str | None = key(
        None,
        "numbers of a box: pixels of the resized image, or thousandths of its sides",
        choices=("resized", "thousand"),
    )
    digits: int | None = key(None, "numbers are filled with zeros to this length; 0: not filled", minimum=0)
    search_tokens: int | None = key(None, "most language tokens of the search image", minimum=1)
    template_tokens: int | None = key(None, "language tokens of the template", minimum=1)
    template_scale: float | None = key(None, "side of the template crop, in sides of the target", minimum=1.0)
    prompt_scale: float | None = key(
        None, "side of the rectangle that inference draws, in sides of the last box", minimum=1.0
    )
    prompt_colour: str | None = key(None, "its colour, by name or as #rrggbb")
    prompt_width: float | None = key(
        None, "width of its line over the image's longer side", minimum=0.0, maximum=1.0
    )


@dataclass(frozen=True)
class PairsFrom:
    """Where pairs are drawn from."""

    data: list[str] = key(
        [], "indexed data sets (python -m data_prep task=index); empty: the rendered world", choices=DATA_SETS
    )
    split: str = key("train", "which of their splits; data=[]: train, val or test")
    splits: list[str] = key([], "the split of each data set, as [vot_train,train]; empty: split= for all")
    weights: list[float] = key([], "how often each data set is drawn from; empty: alike")
    indexes: str = key("outputs/indexes", "folder of all indexes")
    world: str = key("other_look", "data=[]: preset of the rendered world", choices=WORLDS)
    videos: int = key(400, "data=[]: rendered videos", minimum=1)
    pairs: PairSettings = key(PairSettings(), "how pairs are drawn")

    @property
    def title(self) -> str:
        """What the pairs are of, in a word."""
        return "+".join(self.data or [self.world]) + f" {'+'.join(self.splits or [self.split])}"


@dataclass(frozen=True)
class SftRecipe:
    """Fine-tuning `model=` to answer with the target's box, by the contract that it carries."""

    name: str = key("sft", "name of the run, and so of its folder")
    tune: TuneSettings = key(TuneSettings(), "which weights learn")
    teach: TeachSettings = key(TeachSettings(), "what of the contract is taught anew")
    learn: PairsFrom = key(PairsFrom(), "pairs to learn from")
    judge: list[PairsFrom] = key(
        [PairsFrom(split="test", videos=100), PairsFrom(split="test", videos=100, world="train")],
        "pairs to be judged on, never learned from; the best weights are those of the first set",
    )
    judge_drawn: str = key(
        "own",
        "how pairs to be judged on are drawn: own, as each set says; learned, as those learned from",
        choices=("own", "learned"),
    )
    pairs: int = key(16_000, "pairs to learn from, in all", minimum=1)
    batch: int = key(32, "pairs of an optimizer step, over all processes", minimum=1)
    micro_batch: int = key(
        32, "pairs that a process takes forward at once; lower it when memory runs out", minimum=1
    )
    micro_tokens: int | None = key(
        6144,
        "most tokens of pictures that it takes at once, or one pair; null: those of micro_batch pairs",
        minimum=1,
    )
    learning_rate: float = key(2e-4, "peak of the schedule", minimum=0.0)
    smoothing: float = key(
        0.06,
        "labels of a box's numbers are Gaussians of so many sides of the target; 0: the numbers themselves",
        minimum=0.0,
        maximum=0.5,
    )
    schedule: str = key(
        "cosine", "after the warm-up: cosine down to 0, or constant", choices=("cosine", "constant")
    )
    warmup: float = key(0.03, "share of the steps in which the rate rises", minimum=0.0, maximum=1.0)
    weight_decay: float = key(0.0, "of AdamW", minimum=0.0)
    clip: float = key(1.0, "largest norm of the gradient", minimum=0.0)
    checkpointing: bool = key(False, "recompute activations in the backward pass: slower, less memory")
    fused: bool = key(True, "Liger's fused kernels, on a GPU and where liger-kernel is installed")
    packed: bool = key(True, "samples lie one behind the other in a row, without padding")
    seed: int = key(0, "of adapters, dropout and pairs")
    workers: int | None = key(
        None,
        "processes that read pictures, for each process that trains; 0: none; null: 1 on a CPU, and on a GPU "
        "its share of the cores, at most 8",
        minimum=0,
    )
    bad_share: float = key(
        0.01, "share of pairs that may be unreadable before training stops", minimum=0.0, maximum=1.0
    )
    log_every: int = key(10, "steps between lines", minimum=1)
    report_to: list[str] = key(
        [], "trackers beside metrics.jsonl: tensorboard, wandb, trackio, where installed", choices=TRACKERS
    )
    judge_every: int = key(250, "steps between evaluations by generation", minimum=1)
    judge_pairs: int = key(200, "pairs of an evaluation", minimum=1)
    checkpoint_every: int = key(100, "steps between checkpoints", minimum=1)
    keep: int = key(2, "newest checkpoints that are kept, beside the best", minimum=1)
    threads: int = key(1, "CPU threads of a process; 0: torch's own choice", minimum=0)

    @property
    def judged(self) -> list[PairsFrom]:
        """The sets to be judged on, drawn as `judge_drawn` says."""
        if self.judge_drawn == "own":
            return self.judge
        return [replace(source, pairs=self.learn.pairs) for source in self.judge]
