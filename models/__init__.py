"""Floor 2: the grounder (a multimodal LLM), the mask head (SAM 2) and their checkpoints."""
