"""Who gets a namespace, where one may reach, which package is served: rule by rule."""

from dataclasses import replace

import pytest

from bulkhead_api.v1alpha1.agent_package import HttpTool
from bulkhead_api.v1alpha1.organization_runtime import EgressRule
from bulkhead_operator.policies import egress, namespace_claim, package
from bulkhead_operator.policies.namespace_claim import Claim, NamespaceFacts, Rival
from bulkhead_operator.policies.rules import first_violation
from bulkhead_operator.resources import annotations
from tests.support import blueprints
from tests.support.blueprints import CREATED, UID, agent, document, organization

NAMED = organization(spec={"namespace": "team"})
UNNAMED = organization()
MADE = NamespaceFacts("n", {annotations.ORGANIZATION_UID: UID, "bulkhead.dev/organization": "acme"})
ANNOTATED = NamespaceFacts("n", {"bulkhead.dev/organization": "acme"})
BARE = NamespaceFacts("n", {})
CLAIM = Claim(UNNAMED, CREATED, None, (), "bulkhead-system")

CLAIMS = [
    pytest.param(CLAIM, None, id="a namespace that is not there yet is made"),
    pytest.param(replace(CLAIM, live=MADE), None, id="one that was made for this object is ours"),
    pytest.param(
        replace(CLAIM, live=ANNOTATED),
        "NamespaceNotOurs",
        id="an annotation alone gives no org-NAME",
    ),
    pytest.param(replace(CLAIM, live=BARE), "NamespaceNotOurs", id="a stranger's org-NAME is not"),
    pytest.param(
        replace(
            CLAIM,
            live=NamespaceFacts("n", {annotations.ORGANIZATION_UID: "of-a-former-object"}),
        ),
        "NamespaceNotOurs",
        id="one that was made for a former object of that name is not",
    ),
    pytest.param(
        replace(CLAIM, organization=NAMED), "NamespaceNotFound", id="a named one is never made"
    ),
    pytest.param(
        replace(CLAIM, organization=NAMED, live=ANNOTATED),
        None,
        id="a named, annotated one is adopted",
    ),
    pytest.param(
        replace(CLAIM, organization=NAMED, live=BARE),
        "NamespaceNotOurs",
        id="a named one without annotation is not",
    ),
    pytest.param(
        replace(
            CLAIM,
            organization=NAMED,
            live=NamespaceFacts("n", {"bulkhead.dev/organization": "globex"}),
        ),
        "NamespaceNotOurs",
        id="a named one that is annotated for another is not",
    ),
    pytest.param(
        replace(CLAIM, rivals=(Rival("zeta", "2025-01-01T00:00:00Z"),)),
        "NamespaceClaimed",
        id="an older organization has it",
    ),
    pytest.param(
        replace(CLAIM, rivals=(Rival("aaa", CREATED),)),
        "NamespaceClaimed",
        id="of the same age the first name has it",
    ),
    pytest.param(
        replace(CLAIM, rivals=(Rival("zeta", CREATED),)), None, id="and the later name has not"
    ),
    pytest.param(
        replace(CLAIM, rivals=(Rival("new", "2027-01-01T00:00:00Z"), Rival("old", "2025-01-01"))),
        "NamespaceClaimed",
        id="one older rival among younger ones is enough",
    ),
    pytest.param(
        replace(CLAIM, operator_namespace="org-acme"),
        "NamespaceNotOurs",
        id="the operator's own namespace is nobody's",
    ),
]


@pytest.mark.parametrize(("claim", "reason"), CLAIMS)
def test_a_namespace_is_claimed_by_rules(claim: Claim, reason: str | None) -> None:
    violation = first_violation(namespace_claim.RULES, claim)
    assert (violation.reason if violation else None) == reason
    if violation is not None:
        assert f"'{claim.namespace}'" in violation.message
        assert "`spec.namespace`" in violation.message


ENTRY = egress.Entry(
    2, EgressRule(cidr="203.0.113.0/24", ports=(443,)), {"org-globex": "globex"}, ("10.0.0.0/8",)
)


def entry(**fields: str) -> egress.Entry:
    return replace(ENTRY, rule=EgressRule(ports=(443,), **fields))


@pytest.mark.parametrize(
    ("judged", "says"),
    [
        pytest.param(ENTRY, None, id="addresses outside"),
        pytest.param(entry(cidr="0.0.0.0/0"), None, id="everything, less what is denied"),
        pytest.param(entry(namespace="gateway"), None, id="a namespace of no organization"),
        pytest.param(entry(namespace="org-globex"), "'globex'", id="another organization"),
        pytest.param(entry(cidr="169.254.169.254/32"), "169.254.0.0/16", id="the metadata service"),
        pytest.param(entry(cidr="169.254.0.0/16"), "169.254.0.0/16", id="all of link-local"),
        pytest.param(entry(cidr="10.1.2.3/32"), "10.0.0.0/8", id="what the settings deny"),
        pytest.param(entry(cidr="fd00:ec2::254/128"), "fd00:ec2::254", id="metadata by IPv6"),
    ],
)
def test_egress_is_judged_by_rules(judged: egress.Entry, says: str | None) -> None:
    violation = first_violation(egress.RULES, judged)
    if says is None:
        assert violation is None
    else:
        assert violation is not None
        assert says in violation.message
        assert "`spec.network.egress[2]" in violation.message


OFFERED = package.Offered(frozenset({"hosted"}), {"crm": ("CRM.example.com", "*.crm.example.com")})


def judged(*agents: dict[str, object], **fields: object) -> package.Judged:
    content = document(blueprints.package("support", "1.0.0", *agents))
    made = package.Judged(content, "{}", {}, OFFERED, {"taken": "elder"})
    return replace(made, **fields)  # type: ignore[arg-type]


def with_tool(url: str, credential: str | None) -> package.Judged:
    tool = HttpTool(name="look_up", description="Looks up.", url=url, credential=credential)
    one = judged(agent("a"))
    return replace(one, document=one.document.model_copy(update={"tools": (tool,)}))


@pytest.mark.parametrize(
    ("one", "reason", "says"),
    [
        pytest.param(judged(agent("a")), None, "", id="an agent on the default model"),
        pytest.param(judged(agent("a", model="hosted/x")), None, "", id="a known provider"),
        pytest.param(judged(agent("a", model="offline/echo")), None, "", id="the embedded model"),
        pytest.param(
            judged(agent("a"), agent("b", model="other/x")),
            "UnknownProvider",
            "`spec.agents[1].model` of agent 'b' is 'other/x'",
            id="an unknown provider",
        ),
        pytest.param(
            judged(agent("a", fallbacks=["hosted/x", "other/y"])),
            "UnknownProvider",
            "`spec.agents[0].fallbacks[1]` of agent 'a' is 'other/y'",
            id="an unknown provider to fall back to",
        ),
        pytest.param(with_tool("http://10.0.0.1/x", None), None, "", id="a tool of its own"),
        pytest.param(
            with_tool("https://crm.example.com/{id}", "crm"), None, "", id="a credential at home"
        ),
        pytest.param(
            with_tool("https://EU.Crm.example.com:8443/x", "crm"), None, "", id="a host below it"
        ),
        pytest.param(
            with_tool("https://crm.example.com/x", "erp"),
            "UnknownCredential",
            "`spec.tools[0].credential` of tool 'look_up' is 'erp'",
            id="a credential that nobody offers",
        ),
        pytest.param(
            with_tool("https://crm.example.com.evil.test/x", "crm"),
            "CredentialNotForHost",
            "must not learn the credential 'crm'",
            id="a credential sent elsewhere",
        ),
        pytest.param(
            with_tool("https://xcrm.example.com/crm.example.com", "crm"),
            "CredentialNotForHost",
            "`spec.tools[0].url`",
            id="a credential sent to a host that looks alike",
        ),
        pytest.param(
            judged(agent("taken")), "NameConflict", "AgentPackage 'elder'", id="a taken name"
        ),
        pytest.param(
            judged(agent("a"), known_checksums={"1.0.0": "sha256:other"}),
            "VersionContentChanged",
            "`spec.version` is '1.0.0'",
            id="other content under a version that was in service",
        ),
        pytest.param(
            judged(agent("a"), text="x" * 1000 * 1024),
            "PackageTooLarge",
            "at most 900 KiB",
            id="more than a ConfigMap holds",
        ),
    ],
)
def test_packages_are_judged_by_rules(one: package.Judged, reason: str | None, says: str) -> None:
    violation = first_violation(package.RULES, one)
    assert (violation.reason if violation else None) == reason
    if violation is not None:
        assert says in violation.message
