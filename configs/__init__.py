"""Floor 0: the YAML of every command, and what turns a command line into typed settings."""
