"""The tasks of `python -m models`, one module each."""
