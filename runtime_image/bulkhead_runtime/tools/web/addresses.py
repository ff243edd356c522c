"""Which addresses may be connected to when somebody else chose the name.

The question is asked of the address that a socket is about to connect to and of nothing before
it, so that no spelling of a host, no redirect and no name server that changes its answer makes a
difference.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network


def _networks(*networks: str) -> tuple[Network, ...]:
    return tuple(ip_network(network) for network in networks)


PRIVATE: Final = _networks(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"
)
"""Networks of clusters and companies, which the platform may open by name."""

_METADATA: Final = _networks(
    "100.100.100.200/32",  # Alibaba Cloud
    "168.63.129.16/32",  # Azure's platform service
    "192.0.0.0/24",  # Oracle Cloud, and the protocols' own
    "fd00:ec2::/32",  # AWS
    "fd20:ce::254/128",  # Google Cloud
    "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud
    "fd00:42::42/128",  # Scaleway
    "fd00:a9fe:a9fe::1/128",  # Akamai
    "fd00:100::100:200/128",  # Alibaba Cloud
)
"""Where clouds tell machines their credentials, outside the link-local network too."""

_RELAYS: Final = _networks("192.88.99.0/24", "2001::/23", "2002::/16")
"""Lead to addresses that are written inside others."""

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""All that is routed; mapped, translated, compatible and local addresses lie outside."""


def is_public(address: str) -> bool:
    """Tell whether an address belongs to the public internet; what is no address does not."""
    parsed = _parsed(address)
    if parsed is None or _within(parsed, _METADATA) or _within(parsed, _RELAYS):
        return False
    if isinstance(parsed, IPv6Address) and parsed not in _GLOBAL_UNICAST:
        return False
    return parsed.is_global and not parsed.is_multicast


def is_public_or_private(address: str) -> bool:
    """Tell whether an address is public or in a private network.

    The machine itself, its neighbours on the link and the cloud's metadata are neither.
    """
    parsed = _parsed(address)
    if parsed is not None and _within(parsed, PRIVATE):
        return not _within(parsed, _METADATA)
    return is_public(address)


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address.partition("%")[0])
    except ValueError:
        return None


def _within(address: IPv4Address | IPv6Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)
