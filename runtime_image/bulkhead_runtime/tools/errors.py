"""What a tool says when it cannot do what it was asked."""


class ToolError(Exception):
    """A call cannot be answered; `code` is stable, `message` tells the model what to do instead."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
