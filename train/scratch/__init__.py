"""Training the small models from scratch in the rendered world: the grounder and the mask head."""
