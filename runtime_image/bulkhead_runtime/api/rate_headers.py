"""Tells clients what is left of the rate: as the IETF's fields and as OpenAI's clients read it."""

from bulkhead_runtime.kernel.admission import WINDOW_SECONDS, RateLeft

Header = tuple[bytes, bytes]


def rate_headers(rate: RateLeft) -> list[Header]:
    """Return the fields of draft-ietf-httpapi-ratelimit-headers-11 and OpenAI's x-ratelimit-*."""
    limit, left = b"%d" % rate.limit, b"%d" % rate.left
    reset = b"%d" % rate.reset_seconds
    return [
        (b"ratelimit-policy", b'"executions";q=%s;w=%d' % (limit, WINDOW_SECONDS)),
        (b"ratelimit", b'"executions";r=%s;t=%s' % (left, reset)),
        (b"x-ratelimit-limit-requests", limit),
        (b"x-ratelimit-remaining-requests", left),
        (b"x-ratelimit-reset-requests", reset + b"s"),
    ]
