"""Grounders whose answers are generated elsewhere: by a server with OpenAI's chat API, or by vLLM."""
