"""The grounder: a multimodal LLM that answers where the target of an expression is in an image."""
