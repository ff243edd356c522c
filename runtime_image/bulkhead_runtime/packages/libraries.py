"""Which Python distributions the image holds, for packages that depend on them."""

import re
from functools import cache
from importlib.metadata import distributions

from bulkhead_api.runtime_state import MAX_LIBRARIES

_SEPARATORS = re.compile(r"[-_.]+")


@cache
def libraries() -> dict[str, str]:
    """Return version by normalized name; reads many files, so never on the event loop."""
    found = {
        _SEPARATORS.sub("-", one.name).lower(): one.version for one in distributions() if one.name
    }
    return dict(sorted(found.items())[:MAX_LIBRARIES])
