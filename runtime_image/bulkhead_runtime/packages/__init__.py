"""Package versions as a rollout sees them: where they come from, and whether they work."""
