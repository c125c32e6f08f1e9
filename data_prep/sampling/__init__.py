"""Training pairs drawn from indexes: seeded, the same on every machine, from any place on."""
