"""Floor 3: the tracker, the engine that runs many tracks, VOTSr runs and video."""
