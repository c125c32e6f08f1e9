"""Boxes of many sequences in one array: overlaps, errors, and the curves that protocols count from them."""
