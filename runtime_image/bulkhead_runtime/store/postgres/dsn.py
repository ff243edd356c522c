"""Tells DSNs that libpq reads as they are meant from those about which its errors would tell.

About a malformed DSN libpq's own messages quote the password, or what they take for the host.
"""

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

REMEDY = "write postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE, with the password percent-encoded"


def readable(dsn: str) -> bool:
    """Tell whether a DSN may be handed to libpq."""
    address = dsn.partition("://")[2]
    authority = re.split("[/?]", address, maxsplit=1)[0]
    if "@" in address[len(authority) :] or authority.count("@") > 1:
        return False
    try:
        conninfo_to_dict(dsn)
    except psycopg.Error:
        return False
    return True
