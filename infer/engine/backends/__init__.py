"""Backends: where the grounder's answers are computed. One file for each; files are found by listing."""
