"""The shared store of record: PostgreSQL, one question per step of the work."""
