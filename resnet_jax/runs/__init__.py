"""A run's folder: whose it is, its checkpoints, metrics, result and pictures."""
