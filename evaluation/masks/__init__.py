"""Figures from masks."""
