"""Floor 1: geometry, the prompt contract, sequences, result files and the rendered world. No torch here."""
