"""The servers that the runtime is compared with, written the way their users write them."""
