"""What the reference servers are told: the provider behind them and the key in front of them."""

import hmac
import os
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

UPSTREAM = os.environ.get("UPSTREAM_URL", "")
UPSTREAM_KEY = os.environ.get("UPSTREAM_KEY", "")
_API_KEY = os.environ["API_KEY"].encode()
_bearer = HTTPBearer()


async def authorized(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(_bearer)],
) -> None:
    """Let only the holder of the key in; async, since FastAPI runs others in a thread."""
    if not hmac.compare_digest(credentials.credentials.encode(), _API_KEY):
        raise HTTPException(status_code=401, detail="wrong API key")
