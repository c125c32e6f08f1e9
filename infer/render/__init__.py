"""Rendering: results drawn onto frames, written as videos and contact sheets."""
