"""One module a protocol: how it counts, and where that is published."""
