"""A run's life: schedule, checkpoints, curves, optimisers. Knows no model."""
