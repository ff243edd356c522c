"""Events: what happened, for audit and for those who watch."""
