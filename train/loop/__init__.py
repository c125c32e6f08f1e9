"""What every training shares: strategies over processes, checkpoints, metrics, signals and schedules."""
