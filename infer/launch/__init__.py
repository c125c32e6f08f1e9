"""Tracking the sequences of a run in several processes, on one machine or on a cluster."""
