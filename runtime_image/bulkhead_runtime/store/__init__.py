"""Store: conversations on disk, and nothing acknowledged that is not there."""
