"""Pictures of what is drawn from data sets: look before a night's training."""
