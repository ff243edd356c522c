"""The lane of every OpenAI-compatible endpoint: one shared session, the least work per chunk."""
