"""Who may reach the runtime and whom it may reach: nobody, but for what is listed here."""

from collections.abc import Iterator, Sequence
from functools import cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Final, TypeGuard

from bulkhead_api.names import INTERNAL_PORT, PUBLIC_PORT, RUNTIME
from bulkhead_api.v1alpha1.organization_runtime import EgressRule
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources import labels
from bulkhead_operator.resources.blueprint import Blueprint
from bulkhead_operator.settings import PodSelector

Network = IPv4Network | IPv6Network

DEFAULT_DENY: Final = "default-deny"
_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
API_VERSION: Final = "networking.k8s.io/v1"

METADATA_SERVICES: Final = (
    "169.254.0.0/16",  # link-local: AWS, Google Cloud, Azure and most others
    "100.100.100.200/32",  # Alibaba Cloud
    "168.63.129.16/32",  # Azure's platform service
    "192.0.0.192/32",  # Oracle Cloud
    "fd00:ec2::254/128",  # AWS
    "fd20:ce::254/128",  # Google Cloud
    "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud
    "fd00:42::42/128",  # Scaleway
    "fd00:a9fe:a9fe::1/128",  # Akamai
    "fd00:100::100:200/128",  # Alibaba Cloud
    "fe80::/10",  # link-local
)
"""Where clouds hand credentials of the node to whoever asks: out of reach, always."""


@cache
def denied(extra: tuple[str, ...]) -> tuple[Network, ...]:
    """Return what no organization may reach: metadata services and what the settings deny."""
    return tuple(ip_network(cidr, strict=False) for cidr in (*METADATA_SERVICES, *extra))


def default_deny(blueprint: Blueprint) -> Manifest:
    """Return the policy that shuts every pod of the namespace in both directions."""
    return blueprint.child(API_VERSION, "NetworkPolicy", DEFAULT_DENY) | {
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            # Wanted empty, so that a rule that somebody adds is drift and goes.
            "ingress": [],
            "egress": [],
        }
    }


def runtime(blueprint: Blueprint) -> Manifest:
    """Return the policy that opens what the runtime needs."""
    return blueprint.child(API_VERSION, "NetworkPolicy", RUNTIME) | {
        "spec": {
            "podSelector": {"matchLabels": labels.selector(blueprint.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": list(_ingress(blueprint)),
            "egress": list(outward(blueprint)),
        }
    }


def _ingress(blueprint: Blueprint) -> Iterator[Manifest]:
    settings = blueprint.settings
    # A rule with an empty `from` would let everybody in, so there is none without a peer.
    if settings.gateways:
        yield {
            "from": [_peer(selector) for selector in settings.gateways],
            "ports": [_tcp(PUBLIC_PORT)],
        }
    operator = PodSelector(
        namespace_labels={_NAMESPACE_NAME: settings.namespace},
        pod_labels=settings.operator_labels,
    )
    yield {
        "from": [_peer(selector) for selector in (operator, *settings.scrapers)],
        "ports": [_tcp(INTERNAL_PORT)],
    }


def outward(blueprint: Blueprint) -> Iterator[Manifest]:
    """Yield what pods of the organization may reach: names, and what its spec allows."""
    yield {
        "to": [_peer(blueprint.settings.dns)],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    }
    out_of_reach = denied(blueprint.settings.denied_cidrs)
    for rule in blueprint.egress:
        yield {
            "to": [_destination(rule, out_of_reach)],
            "ports": [_tcp(port) for port in rule.ports],
        }


def _destination(rule: EgressRule, out_of_reach: Sequence[Network]) -> Manifest:
    if rule.cidr is None:
        return {"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: rule.namespace}}}
    network = ip_network(rule.cidr, strict=False)
    block: Manifest = {"cidr": str(network)}
    excepted = exceptions(network, out_of_reach)
    if excepted:
        block["except"] = [str(hole) for hole in excepted]
    return {"ipBlock": block}


def exceptions(network: Network, out_of_reach: Sequence[Network]) -> list[Network]:
    """Return what must be cut out of `network`: the fewest blocks, in order."""
    if isinstance(network, IPv4Network):
        four = [hole for hole in out_of_reach if _inside_four(hole, network)]
        return list(collapse_addresses(four))
    six = [hole for hole in out_of_reach if _inside_six(hole, network)]
    return list(collapse_addresses(six))


def _inside_four(hole: Network, network: IPv4Network) -> TypeGuard[IPv4Network]:
    return isinstance(hole, IPv4Network) and hole.subnet_of(network)


def _inside_six(hole: Network, network: IPv6Network) -> TypeGuard[IPv6Network]:
    return isinstance(hole, IPv6Network) and hole.subnet_of(network)


def _peer(selector: PodSelector) -> Manifest:
    return {
        "namespaceSelector": {"matchLabels": selector.namespace_labels},
        "podSelector": {"matchLabels": selector.pod_labels},
    }


def _tcp(port: int) -> Manifest:
    return {"protocol": "TCP", "port": port}
