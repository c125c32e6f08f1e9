"""Configuration keys that have a new name. Runs of earlier versions recorded them by their old names."""

RENAMED_KEYS = {
    "recipe.judge": "recipe.evaluate",
    "recipe.judge_every": "recipe.evaluate_every",
    "recipe.judge_pairs": "recipe.evaluate_pairs",
    "recipe.judge_drawn": "recipe.evaluate_sampling",
    "recipe.learn": "recipe.train_data",
    "recipe.teach": "recipe.contract",
    "recipe.clip": "recipe.max_grad_norm",
    "recipe.clip_norm": "recipe.max_grad_norm",
    "recipe.checkpointing": "recipe.gradient_checkpointing",
    "recipe.fused": "recipe.use_liger_kernel",
    "recipe.packed": "recipe.packing",
    "recipe.smoothing": "recipe.soft_label_std",
    "recipe.warmup": "recipe.warmup_ratio",
    "recipe.bad_share": "recipe.max_unreadable_share",
    "recipe.keep": "recipe.keep_checkpoints",
    "recipe.forget": "recipe.memory_dropout",
    "recipe.passing": "recipe.absence_share",
    "tracker.find_above": "tracker.activation_threshold",
    "tracker.visible_above": "tracker.activation_threshold",
    "tracker.sure_above": "tracker.min_object_score",
    "tracker.verify_every": "tracker.verify_interval",
    "tracker.lean": "tracker.logit_bias",
    "tracker.trust": "tracker.logit_scale",
    "tracker.stay": "tracker.stay_probability",
    "tracker.agree_iou": "tracker.min_agreement_iou",
    "tracker.move_above": "tracker.min_box_confidence",
    "tracker.search_pause": "tracker.max_search_interval",
    "tracker.wake_change": "tracker.min_frame_change",
    "tracker.area_jump": "tracker.max_area_ratio",
    "model.box_floor": "model.box_threshold",
    "prompts": "expressions",  # of data_prep task=render
}


def current_name(name: str) -> str:
    """The present name of a dotted key, as `recipe.evaluate.0.split` of `recipe.judge.0.split`."""
    for old, new in RENAMED_KEYS.items():
        # With the dot, since `recipe.clip` is also the beginning of `recipe.clip_norm`.
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return name
