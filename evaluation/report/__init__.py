"""Tables, plots and pages of an `Evaluation`, and of a sweep of runs."""
