"""Configuration keys that have a new name. Runs of earlier versions recorded them by their old names."""

RENAMED_KEYS = {
    "recipe.judge": "recipe.evaluate",
    "recipe.judge_every": "recipe.evaluate_every",
    "recipe.judge_pairs": "recipe.evaluate_pairs",
    "recipe.judge_drawn": "recipe.evaluate_sampling",
    "prompts": "expressions",  # of data_prep task=render
}


def current_name(name: str) -> str:
    """The present name of a dotted key, as `recipe.evaluate.0.split` of `recipe.judge.0.split`."""
    for old, new in RENAMED_KEYS.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return name
