"""Policy: one engine that decides about every call of a tool and every use of a model."""
