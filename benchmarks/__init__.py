"""Measured comparisons: ours and the plain or published way, in one run on the same work."""
