"""How truth and results lie on disk, and how they are read."""
