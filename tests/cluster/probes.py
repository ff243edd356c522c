"""Asks an HTTP endpoint whether it is well, as the waiting parts of the cluster do many times."""

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.certificates import Pair

_SECONDS = 2


def succeeds(
    url: str,
    *,
    authority: Path | None = None,
    client: Pair | None = None,
    headers: Mapping[str, str] | None = None,
) -> bool:
    """Tell whether a GET is answered with 200; any trouble on the way is a no."""
    context = None
    if authority is not None:
        context = ssl.create_default_context(cafile=str(authority))
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
    try:
        request = urllib.request.Request(url, headers=dict(headers or {}))
        with urllib.request.urlopen(request, context=context, timeout=_SECONDS) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return False
