"""The lane of every other provider: litellm, in a process of its own."""
