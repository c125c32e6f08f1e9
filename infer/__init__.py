"""Inference: trackers, the engine that runs them, runs over videos and data sets, rendering."""
