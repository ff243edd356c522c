"""Where an organization may never reach, whatever its spec says."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from bulkhead_api.v1alpha1.organization_runtime import EgressRule
from bulkhead_operator.errors import UserError
from bulkhead_operator.policies.rules import Rule
from bulkhead_operator.resources.network import Network, denied
from bulkhead_operator.status import reasons


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of `spec.network.egress`, and what it is judged by."""

    index: int
    rule: EgressRule
    namespaces: Mapping[str, str]
    """Namespaces of all other organizations, with the organization's name."""
    denied_cidrs: tuple[str, ...]


def stays_out_of_others(entry: Entry) -> UserError | None:
    """Refuse another organization's namespace."""
    holder = entry.namespaces.get(entry.rule.namespace or "")
    if holder is None:
        return None
    return UserError(
        reasons.EGRESS_DENIED,
        f"`spec.network.egress[{entry.index}].namespace` is '{entry.rule.namespace}', the "
        f"namespace of OrganizationRuntime '{holder}': remove this entry, organizations never "
        "reach each other.",
    )


def leaves_something(entry: Entry) -> UserError | None:
    """Refuse a block of which nothing is left once the denied addresses are cut out."""
    if entry.rule.cidr is None:
        return None
    network = ip_network(entry.rule.cidr, strict=False)
    out_of_reach = denied(entry.denied_cidrs)
    hole = next((hole for hole in out_of_reach if _contains(hole, network)), None)
    if hole is None:
        return None
    return UserError(
        reasons.EGRESS_DENIED,
        f"`spec.network.egress[{entry.index}].cidr` is '{entry.rule.cidr}', which lies in {hole}, "
        "out of reach for every organization: remove this entry or name addresses outside.",
    )


def _contains(hole: Network, network: Network) -> bool:
    return (
        hole.version == network.version
        and hole.prefixlen <= network.prefixlen
        and network.network_address in hole
    )


RULES: Final[tuple[Rule[Entry], ...]] = (stays_out_of_others, leaves_something)
