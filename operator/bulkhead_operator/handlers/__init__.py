"""Doorbells: kopf's events become keys on our queue, nothing else."""
