"""Processes of a run: which of them a launcher has started, starting those of a node, and stop signals.

Imports no torch, so that training and inference can both use it.
"""
