"""The lane of every OpenAI-compatible endpoint: kept connections, the least work per chunk."""
