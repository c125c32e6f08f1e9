"""Readers of the field's data sets: a small file each, all giving the same `Sequence`."""
