"""Trackers: what they ask of the models, the trackers themselves, and the registry that finds them."""
