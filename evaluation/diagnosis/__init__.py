"""Where trackers lose score: the kinds of errors, what each costs, and frames to look at."""
