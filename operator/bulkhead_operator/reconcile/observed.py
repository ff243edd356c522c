"""What the children's facts say, in the words of status and pace."""

from bulkhead_api.names import (
    ANNOTATION_ORGANIZATION_GENERATION,
    ANNOTATION_POD_TEMPLATE_HASH,
    RUNTIME,
)
from bulkhead_operator.cluster.port import Child, ObjectKey
from bulkhead_operator.policies.namespace_claim import NamespaceFacts
from bulkhead_operator.reconcile.pace import LiveTemplate
from bulkhead_operator.resources import annotations
from bulkhead_operator.status.organization import Workload

DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"


def deployment_key(namespace: str) -> ObjectKey:
    """Return the key of the organization's Deployment."""
    return ObjectKey("apps/v1", "Deployment", namespace, RUNTIME)


def namespace_key(namespace: str) -> ObjectKey:
    """Return the key of the namespace itself."""
    return ObjectKey("v1", "Namespace", None, namespace)


def namespace_facts(child: Child) -> NamespaceFacts:
    """Return what the claim is judged by."""
    return NamespaceFacts(child.uid, child.facts.get("annotations", {}), child.terminating)


def live_template(child: Child | None) -> LiveTemplate | None:
    """Return what the live Deployment says about its pod template."""
    if child is None or child.terminating:
        return None
    marks = child.facts.get("annotations", {})
    return LiveTemplate(
        template_hash=marks.get(ANNOTATION_POD_TEMPLATE_HASH, ""),
        generation=marks.get(ANNOTATION_ORGANIZATION_GENERATION, ""),
        upgrade=marks.get(annotations.UPGRADE, ""),
        rolled_out=_rolled_out(child),
        failed=bool(_deadline_message(child)),
        replicas=child.facts.get("specReplicas", 0),
    )


def workload(child: Child | None, namespace: str) -> Workload:
    """Return the Deployment as status speaks of it."""
    if child is None:
        return Workload(wanted=1, available=0, current=False)
    return Workload(
        wanted=child.facts.get("specReplicas", 0),
        available=child.facts.get("availableReplicas", 0),
        current=_rolled_out(child),
        existing=child.facts.get("replicas", 0),
        failure=_failure(child, namespace),
    )


def _rolled_out(child: Child) -> bool:
    facts = child.facts
    wanted = facts.get("specReplicas", 0)
    return bool(
        facts.get("observedGeneration", 0) >= facts.get("generation", 0)
        and facts.get("updatedReplicas", 0) == wanted
        and facts.get("availableReplicas", 0) == wanted
        and facts.get("replicas", 0) == wanted
    )


def _failure(child: Child, namespace: str) -> str:
    refused = child.facts.get("conditions", {}).get("ReplicaFailure", {})
    if refused.get("status") == "True":
        return (
            f"Pods of Deployment '{RUNTIME}' are refused: {refused.get('message', '')} "
            "Change `spec.limits` of this OrganizationRuntime, or what the message names."
        )
    if _deadline_message(child):
        return (
            f"Pods of Deployment '{RUNTIME}' do not become ready: see "
            f"`kubectl -n {namespace} describe pods` for the image, the node or the volume that "
            "they wait for."
        )
    return ""


def _deadline_message(child: Child) -> str:
    progressing = child.facts.get("conditions", {}).get("Progressing", {})
    failed = progressing.get("status") == "False"
    return DEADLINE_EXCEEDED if failed and progressing.get("reason") == DEADLINE_EXCEEDED else ""
