"""HTTP to addresses that others chose, kept away from everything that is not public."""
