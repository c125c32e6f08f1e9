"""Supervised fine-tuning of a grounder on pairs: LoRA or full, one process or many."""
