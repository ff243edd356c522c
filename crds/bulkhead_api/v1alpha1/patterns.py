"""What a name may look like: the API server holds every such field against one of these."""

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
DATA_KEY = r"^[-._a-zA-Z0-9]+$"
MODEL_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[^\s/][^\s]*$"
TOOL_NAME = r"^[a-zA-Z0-9_-]{1,64}$"
"""What every provider's function calling accepts as a name."""

CIDR = r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"
MONEY = r"^[0-9]{1,9}(\.[0-9]{1,6})?$"
"""US dollars as decimal text: a float could not hold them exactly."""

GLOB = r"^\S+$"
"""`*` stands for any characters, `?` for one; everything else for itself."""

HOST_GLOB = r"^[-a-zA-Z0-9.:*?]+$"
"""A GLOB for hosts, without a port: names without upper and lower case, or addresses."""

HTTP_URL = r"^https?://[^\s/@?#]+(/[^\s?#]*)?$"
"""Without credentials, query and fragment, none of which belongs into a spec."""

URL_TEMPLATE = r"^https?://[^\s/@?#{}]+(/[^\s?#]*)?$"
"""An HTTP_URL whose path may have places for arguments; its host never depends on them."""

SECURE_URL = (
    r"^(https://[^\s/@?#]+|http://([-a-z0-9.]+\.svc(\.cluster\.local)?|127\.0\.0\.1)(:[0-9]{1,5})?)"
    r"(/[^\s?#]*)?$"
)
"""Plain http only where it does not leave the cluster: keys that prove identity come from it."""

SEMVER = (
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$"
)
"""Semantic Versioning 2.0.0 without build metadata, which has no place in its precedence."""

DEPENDENCY_NAME = r"^[a-zA-Z0-9]([-._a-zA-Z0-9]*[a-zA-Z0-9])?$"
"""Names of Python distributions are the widest of all that can be depended on."""

VERSION_RANGE = r"^[-0-9A-Za-z.*<>=!~^|, +]+$"
"""The characters of a range; whether it is one is the operator's to say."""

OCI_REFERENCE = r"^[a-zA-Z0-9.-]+(:[0-9]{1,5})?/[a-z0-9]+([._/-]+[a-z0-9]+)*@sha256:[0-9a-f]{64}$"

IMAGE_REFERENCE = (
    r"^[a-zA-Z0-9.-]+(:[0-9]{1,5})?/[a-z0-9]+([._/-]+[a-z0-9]+)*"
    r"(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})$"
)
"""With its host, because what a short name stands for is the node's to say."""
