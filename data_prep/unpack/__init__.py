"""Unpacking a data set that comes as parts of one archive: joined, checked and extracted as it streams."""
