"""Training records as other systems write and read them: pairs out, records of ReasoningTrack in."""
