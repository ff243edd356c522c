"""Errors that carry intent; everything else is a bug and propagates.

OperatorError
    UserError      a person must act: Stalled, message with field, value and remedy
    NotReadyYet    something is under way: Reconciling, looked at again after `delay`
    ClusterError   the API server or a runtime answered badly: retried with backoff
        NotOurs        a same-named object belongs to somebody else
        Gone           the object (or its namespace) is not there or is being deleted
        Conflict       the object changed meanwhile
        Forbidden      the operator's role does not allow it (yet)
        Refused        the API server refused the content as invalid
        LeaseLost      this process may not write any more
"""

from typing import Final


class OperatorError(Exception):
    """Has a reason (one CamelCase word of the API) and a message for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason: Final = reason
        self.message: Final = message


class UserError(OperatorError):
    """A person must act; the message names the field, its value and the remedy."""


class NotReadyYet(OperatorError):  # noqa: N818 (a state, not a failure)
    """Something is under way; `delay` is in seconds, None waits for an event alone."""

    def __init__(self, reason: str, message: str, delay: float | None = None) -> None:
        super().__init__(reason, message)
        self.delay: Final = delay


class ClusterError(OperatorError):
    """The API server or a runtime answered badly; `status` is the HTTP status, 0 for none."""

    def __init__(self, reason: str, message: str, status: int = 0) -> None:
        super().__init__(reason, message)
        self.status: Final = status


class NotOurs(ClusterError):  # noqa: N818
    """A same-named object belongs to somebody else and was left alone."""


class Gone(ClusterError):  # noqa: N818
    """The object or its namespace is not there, or is being deleted."""


class Conflict(ClusterError):  # noqa: N818
    """The object changed, or another object took its name, meanwhile."""


class Forbidden(ClusterError):  # noqa: N818
    """The operator's role does not allow it; right after a RoleBinding it may shortly."""


class Refused(ClusterError):  # noqa: N818
    """The API server refused the content; `message` is its own explanation."""


class LeaseLost(ClusterError):  # noqa: N818
    """Another replica leads, or may: nothing may be written any more."""
