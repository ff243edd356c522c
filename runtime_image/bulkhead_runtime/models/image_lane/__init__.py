"""The third lane: images of packages that answer for their agents in place of a model."""
