"""The part of the API that FastAPI serves; imported by the first request that needs it."""
