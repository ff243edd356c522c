"""An image's failures in our words: they name the package, and what its author can do."""

from typing import Final

import aiohttp

from bulkhead_runtime.models.errors import ModelError, ModelErrorKind
from bulkhead_runtime.models.redaction import redacted

_KINDS: Final[dict[int, ModelErrorKind]] = {408: "timeout", 429: "rate_limited", 504: "timeout"}
_SERVER_ERRORS: Final = range(500, 600)


class ImageFailures:
    """Words the failures of one version's image."""

    def __init__(self, package: str, version: str) -> None:
        self._name = f"The image of package {package} {version}"

    def answered(self, status: int, retry_after: float | None) -> ModelError:
        """Return the error for an answer that is not 200."""
        kind = _KINDS.get(status, "unavailable" if status in _SERVER_ERRORS else "garbage")
        return self._error(kind, f"answers with status {status}", retry_after, status)

    def gave_up(self, said: str) -> ModelError:
        """Return the error that the image itself told."""
        words = redacted(said, None) or "without a reason"
        return self._error("unavailable", f"gave up: {words}")

    def garbage(self, what: str) -> ModelError:
        """Return the error for an answer that is against the contract."""
        return self._error("garbage", f"sent {what}, which the contract does not know")

    def too_long(self, limit: int) -> ModelError:
        """Return the error for an answer that is longer than it may be."""
        return self._error("garbage", f"sent more than the {limit} bytes that it was asked for")

    def cut(self) -> ModelError:
        """Return the error for a stream that ended before it was done."""
        return self._error("unavailable", "ended its answer early")

    def broken(self, error: BaseException, seconds: float) -> ModelError:
        """Return the error for a call that broke; `seconds` is how long an image may be silent."""
        if isinstance(error, aiohttp.ClientConnectorError):
            return self._error("unavailable", "cannot be connected to: its pods may be starting")
        if isinstance(error, TimeoutError):
            return self._error("timeout", f"said nothing for {seconds:g} seconds")
        return self._error("unavailable", "broke the connection")

    def _error(
        self,
        kind: ModelErrorKind,
        what: str,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> ModelError:
        return ModelError(kind, f"{self._name} {what}.", retry_after=retry_after, status=status)
