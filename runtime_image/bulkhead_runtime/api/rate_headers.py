"""Tells clients what is left of the rate: as the IETF's fields and as OpenAI's clients read it."""

from bulkhead_runtime.kernel.admission import WINDOW_SECONDS, RateLeft

Header = tuple[bytes, bytes]


def rate_lines(rate: RateLeft) -> bytes:
    """Return the fields of draft-ietf-httpapi-ratelimit-headers-11 and OpenAI's x-ratelimit-*."""
    limit, left, reset = rate.limit, rate.left, rate.reset_seconds
    return (
        b'ratelimit-policy: "executions";q=%d;w=%d\r\n'
        b'ratelimit: "executions";r=%d;t=%d\r\n'
        b"x-ratelimit-limit-requests: %d\r\n"
        b"x-ratelimit-remaining-requests: %d\r\n"
        b"x-ratelimit-reset-requests: %ds\r\n"
        % (limit, WINDOW_SECONDS, left, reset, limit, left, reset)
    )
