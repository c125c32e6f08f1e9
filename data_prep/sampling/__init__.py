"""Training pairs drawn from indexes. Pair k of a seed is the same on every machine and in every process."""
