"""The rendered world: drawn videos with pixel truth and words, to learn from and to be judged in."""
