"""Configuration: mounted files become one immutable snapshot, followed without a restart."""
