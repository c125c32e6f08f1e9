"""Faster modules in place of those of transformers and peft. Weights and their names stay as they are."""
