"""Kernel: the one way through which everything that runs an agent or a model goes."""
