"""The runtime of one organization: agents, their conversations and the way to their models."""
