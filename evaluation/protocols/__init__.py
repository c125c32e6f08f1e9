"""One module a protocol: how it counts, where that is published, and `evaluate(settings)`."""
