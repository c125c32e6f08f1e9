"""The engine: loads the models, runs trackers frame by frame, and batches their requests."""
