"""Hides what the operator's image does not have, so that its memory here is that of the image.

kopf imports the official Kubernetes client wherever it is installed; the tests install it.
"""

import sys

sys.modules["kubernetes"] = None  # type: ignore[assignment]
