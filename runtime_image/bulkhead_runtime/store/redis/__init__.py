"""Redis in front of PostgreSQL: a cache, shared rates and notifications; losing it costs speed."""
