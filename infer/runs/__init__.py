"""Runs: a workspace, a video or a data set from its settings to result files and a summary."""
