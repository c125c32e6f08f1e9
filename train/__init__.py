"""Floor 4: the recipes that train the grounder and the mask head."""
