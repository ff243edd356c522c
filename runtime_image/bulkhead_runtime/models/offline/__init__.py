"""The embedded model: deterministic, without key or network, so that everything can be tried."""
