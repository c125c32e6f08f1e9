"""Floor 2: figures from result files and truth."""
