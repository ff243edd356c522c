"""Where an organization may never reach, whatever its spec says."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from bulkhead_api.v1alpha1 import OrganizationRuntime

from bulkhead_operator.errors import UserError
from bulkhead_operator.policies.rules import Rule
from bulkhead_operator.resources.network import Network, denied
from bulkhead_operator.status import reasons


@dataclass(frozen=True, slots=True)
class Reach:
    """What an organization's egress is judged by."""

    organization: OrganizationRuntime
    namespaces: Mapping[str, str]
    """Namespaces of all other organizations, with the organization's name."""
    denied_cidrs: tuple[str, ...]


def stays_out_of_others(reach: Reach) -> UserError | None:
    """Refuse another organization's namespace."""
    for index, rule in enumerate(reach.organization.spec.network.egress):
        holder = reach.namespaces.get(rule.namespace or "")
        if holder is not None:
            return UserError(
                reasons.EGRESS_DENIED,
                f"`spec.network.egress[{index}].namespace` is '{rule.namespace}', the namespace "
                f"of OrganizationRuntime '{holder}': remove this entry, organizations never reach "
                "each other.",
            )
    return None


def leaves_something(reach: Reach) -> UserError | None:
    """Refuse a block of which nothing is left once the denied addresses are cut out."""
    out_of_reach = denied(reach.denied_cidrs)
    for index, rule in enumerate(reach.organization.spec.network.egress):
        if rule.cidr is None:
            continue
        network = ip_network(rule.cidr, strict=False)
        hole = next((hole for hole in out_of_reach if _contains(hole, network)), None)
        if hole is not None:
            return UserError(
                reasons.EGRESS_DENIED,
                f"`spec.network.egress[{index}].cidr` is '{rule.cidr}', which lies in {hole}, "
                "out of reach for every organization: remove this entry or name addresses "
                "outside.",
            )
    return None


def _contains(hole: Network, network: Network) -> bool:
    return (
        hole.version == network.version
        and hole.prefixlen <= network.prefixlen
        and network.network_address in hole
    )


RULES: Final[tuple[Rule[Reach], ...]] = (stays_out_of_others, leaves_something)
