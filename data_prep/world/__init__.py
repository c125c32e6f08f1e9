"""The rendered world: drawn videos with ground-truth masks and expressions, for training and evaluation."""
