"""Unpacking a data set that is published as parts of one archive: joined, checked and extracted
while it is read.
"""
