"""Packages as software: versions, what they depend on, how a new one takes over."""
