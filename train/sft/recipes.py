"""Recipes for the small model, and published ones. Imports nothing heavy.

Data, trainable parameters and optimizer of the published recipes are as published. The contract (question and
answer) and the sampling of pairs (`data_prep.sampling`) are this project's.
"""

from data_prep.sampling.settings import PairSettings
from train.sft.config import PARTS, ContractSettings, PairSource, SftRecipe, TuneSettings

VPTRACKER_PAIRS = PairSettings(
    negative=0.0,  # template and expression are always those of the video
    gap=1_000_000,  # any two frames of a video
    prompt_jitter=0.0,
    prompt_scale_from=2.0,
    prompt_scale_to=8.0,
    prompt_miss=0.25,  # so that the model does not rely on the rectangle
)

NANO_LORA = SftRecipe(
    name="nano_lora",
    tune=TuneSettings(parts=list(PARTS)),
    pairs=8_000,
    learning_rate=1e-3,
    threads=2,  # faster on two idle cores, see docs/training.md
)
"""The small grounder in a rendered world of another look: ten minutes on two cores.

The learning rate is for a model of this size.
"""

VPTRACKER = SftRecipe(
    name="vptracker",
    tune=TuneSettings(
        method="full",
        parts=list(PARTS),
        rank=64,  # with method=lora, as in its ablation: alpha 128, dropout 0.05, the language model alone
        alpha=128,
        dropout=0.05,
        tokens=["<ref>", "</ref>", "<template>", "</template>", "<search>", "</search>"],
    ),
    contract=ContractSettings(wording="tagged", search_tokens=1024),
    train_data=PairSource(data=["tnl2k", "tnllt"], weights=[7.0, 3.0], pairs=VPTRACKER_PAIRS),
    evaluate=[PairSource(data=["tnl2k"], split="test"), PairSource(data=["tnllt"], split="test")],
    evaluate_sampling="train",
    pairs=1_000_000,
    batch=128,
    micro_batch=4,
    learning_rate=2e-5,
    soft_label_std=0.0,
    warmup_ratio=0.05,
    weight_decay=0.1,  # the default of ms-swift
    workers=8,
    evaluate_every=500,
)
"""https://github.com/jcwang0602/VPTracker, train.sh: Qwen3-VL-4B on 8 GPUs, a million pairs once."""

REASONINGTRACK_SFT = SftRecipe(
    name="reasoningtrack_sft",
    tune=TuneSettings(method="full", parts=["language_model"]),  # LLaMA-Factory freezes the others
    train_data=PairSource(data=["tnllt", "otb99", "got10k", "tnl2k", "lasot"]),
    evaluate=[PairSource(data=["tnl2k"], split="test"), PairSource(data=["tnllt"], split="test")],
    pairs=3 * 997,
    # Eight records for each process: with several processes, `recipe.batch` must be raised.
    batch=8,
    micro_batch=1,
    learning_rate=5e-5,
    soft_label_std=0.0,
    warmup_ratio=0.0,
    workers=4,
    evaluate_every=75,
    checkpoint_every=150,
)
"""https://github.com/Event-AHU/Open_VLTrack, ReasoningTrack: Qwen2.5-VL-3B, 997 records three times.

Eight records an optimizer step and process. Its records hold a chain of thought, and pairs hold none.
"""
