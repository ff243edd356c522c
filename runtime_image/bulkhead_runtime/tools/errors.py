"""What a tool says when it cannot do what it was asked.

ToolError          goes back to the model
TransientError   the same call may work in a moment
"""


class ToolError(Exception):
    """A call cannot be answered; `code` is stable, `message` tells the model what to do instead."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class TransientError(ToolError):
    """The source of the tool is at fault for the moment: try again if it is safe, count it."""
