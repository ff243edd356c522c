"""Packages with an image of their own: what is made for them, and who may have it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from bulkhead_api import names
from bulkhead_api.runtime_config import PackageContent, PackageDocument
from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_api.v1alpha1.package_image import PackageImage
from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.packages.asked import Asked
from bulkhead_operator.packages.pods import Pods, trouble
from bulkhead_operator.packages.record import Record
from bulkhead_operator.packages.rollout import Failure, Phase, Progress, VersionId
from bulkhead_operator.policies.package import RULES, Judged, Offered
from bulkhead_operator.policies.rules import first_violation
from bulkhead_operator.reconcile import deletion
from bulkhead_operator.reconcile.candidate import Candidate
from bulkhead_operator.reconcile.selection import Selection, Surroundings, select
from bulkhead_operator.resources import dedicated, labels
from bulkhead_operator.resources.blueprint import Blueprint, ImageBlueprint
from bulkhead_operator.resources.desired import desired
from tests.support.blueprints import blueprint, organization, package

IMAGE = {"reference": "registry.example.com/agents/parcels:1.0.0", "pullSecretName": "registry"}
OWN_POLICY = "NetworkPolicy/package-parcels"
ROOM = {"limits": {"packages": {"pods": 4, "memoryMB": 1024, "cpuMillicores": 1000}}}


def imaged(version: str = "1.0.0", **image: Any) -> AgentPackage:
    """Return a package whose image answers for the agent `parcels`."""
    plain = package("parcels", version)
    given = PackageImage.model_validate(IMAGE | image)
    return plain.model_copy(update={"spec": plain.spec.model_copy(update={"image": given})})


def document_of(one: AgentPackage) -> PackageDocument:
    content = PackageContent(agents=one.spec.agents, image=one.spec.image)
    return PackageDocument.holding(one.metadata.name, one.spec.version, content)


def built(*packages: AgentPackage, **spec: Any) -> Blueprint:
    images = []
    for one in packages:
        document = document_of(one)
        assert document.image is not None
        images.append(
            ImageBlueprint("parcels", "uid", document.version, document.checksum, document.image)
        )
    return replace(blueprint(ROOM | spec), images=tuple(images))


def of_packages(built: Blueprint) -> dict[str, Manifest]:
    return {
        f"{key.kind}/{key.name}": manifest
        for key, manifest in desired(built).items()
        if dedicated.is_ours(key) or key.kind in {"ResourceQuota", "LimitRange"}
    }


def deployments(built: Blueprint) -> list[Manifest]:
    return [one for name, one in of_packages(built).items() if name.startswith("Deployment/")]


def test_what_is_made_for_images_is_as_reviewed(
    matches_golden: Callable[[str, Mapping[str, Any]], None],
) -> None:
    egress = {"network": {"egress": [{"cidr": "203.0.113.0/24", "ports": [443]}]}}
    matches_golden("dedicated", of_packages(built(imaged(port=9000), imaged("2.0.0"), **egress)))


def test_an_organization_without_images_has_nothing_for_them() -> None:
    assert not [key for key in desired(blueprint()) if dedicated.is_ours(key)]


def test_pods_of_packages_may_do_nothing_and_mount_nothing() -> None:
    (deployment,) = deployments(built(imaged()))
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [list(volume) for volume in pod["volumes"]] == [["name", "emptyDir"]]
    assert [entry["name"] for entry in container["env"]] == ["PORT"]


def test_only_the_runtime_reaches_an_image_which_reaches_what_the_organization_may() -> None:
    made = built(imaged(), network={"egress": [{"cidr": "203.0.113.0/24", "ports": [443]}]})
    found = of_packages(made)
    (policy,) = [
        found[name]["spec"] for name in found if name.startswith("NetworkPolicy/package-p")
    ]
    (inward,) = policy["ingress"]
    assert inward["from"] == [{"podSelector": {"matchLabels": labels.selector("acme")}}]
    runtime = desired(made)[
        ObjectKey("networking.k8s.io/v1", "NetworkPolicy", "org-acme", "runtime")
    ]
    *allowed, models = policy["egress"]
    assert allowed == runtime["spec"]["egress"]
    assert models == {
        "to": [{"podSelector": {"matchLabels": labels.selector("acme")}}],
        "ports": [{"protocol": "TCP", "port": names.PUBLIC_PORT}],
    }


def test_no_pod_of_a_package_is_taken_for_the_runtime() -> None:
    (deployment,) = deployments(built(imaged()))
    pod = deployment["spec"]["template"]["metadata"]["labels"]
    assert not labels.selector("acme").items() <= pod.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= pod.items()


def test_versions_run_side_by_side() -> None:
    one, two = deployments(built(imaged(), imaged("2.0.0")))
    assert one["metadata"]["name"] != two["metadata"]["name"]
    assert one["spec"]["selector"] != two["spec"]["selector"]


def test_the_longest_names_are_still_names() -> None:
    name = dedicated.name("a" * 43 + "-" * 5 + "b" * 15, "sha256:" + "0123456789abcdef" * 4)
    assert len(name) <= 63
    assert name == "package-" + "a" * 43 + "-0123456789"


def test_a_node_can_be_drained_one_pod_of_a_version_at_a_time() -> None:
    found = of_packages(built(imaged(), imaged("2.0.0", replicas=2)))
    (budget,) = [one["spec"] for one in found.values() if one["kind"] == "PodDisruptionBudget"]
    assert budget["maxUnavailable"] == 1
    (deployment,) = [one for one in found.values() if one["spec"].get("replicas") == 2]
    assert budget["selector"] == deployment["spec"]["selector"]


def test_a_suspended_organization_runs_no_image() -> None:
    (deployment,) = deployments(built(imaged(), suspend=True))
    assert deployment["spec"]["replicas"] == 0


def test_the_quota_has_the_room_that_the_platform_gives_packages() -> None:
    key = ObjectKey("v1", "ResourceQuota", "org-acme", "runtime")
    plain = desired(blueprint())[key]["spec"]["hard"]
    roomy = desired(built())[key]["spec"]["hard"]
    assert plain["limits.memory"] == "1536Mi"
    assert roomy["limits.memory"] == f"{1536 + 1024}Mi"
    assert int(roomy["pods"]) == int(plain["pods"]) + 4


def test_deletion_knows_what_was_made_for_images() -> None:
    made = [ObjectKey.of(manifest) for manifest in dedicated.build(built(imaged()))]
    assert [key.kind for key in made] == [
        "NetworkPolicy",
        "NetworkPolicy",
        "Service",
        "Deployment",
    ]
    assert all(dedicated.is_ours(key) for key in made)
    assert not any((key.kind, key.name) in deletion.OURS for key in made)


def judged(beside: int = 0, limits: dict[str, Any] | None = None, **image: Any) -> Judged:
    document = document_of(imaged(**image))
    spec = organization(spec={"limits": {**ROOM["limits"], **(limits or {})}}).spec
    others = [PackageImage.model_validate(IMAGE)] * beside
    return Judged(document, "{}", {}, Offered.by(spec), {}, beside=others)


VERDICTS = [
    pytest.param(judged(), None, "", id="an image with room for it"),
    pytest.param(
        judged(limits={"packages": {}}),
        "NoRoomForImage",
        "`spec.limits.packages.pods`",
        id="an organization that lets no image run unless told to",
    ),
    pytest.param(
        judged(beside=2),
        "NoRoomForImage",
        "makes 6",
        id="a third version that leaves no pod for a replacement",
    ),
    pytest.param(
        judged(memoryMB=513),
        "NoRoomForImage",
        "is 513, more than the 512 of a replica",
        id="a pod that is larger than a replica",
    ),
    pytest.param(
        judged(memoryMB=512, replicas=2),
        "NoRoomForImage",
        "`spec.limits.packages.memoryMB`",
        id="pods that are too large together",
    ),
    pytest.param(
        judged(cpuMillicores=600),
        "NoRoomForImage",
        "`spec.limits.packages.cpuMillicores`",
        id="pods that take too much of a core together",
    ),
    pytest.param(
        judged(limits={"packages": {**ROOM["limits"]["packages"], "images": ["ghcr.io/*"]}}),
        "ImageNotAllowed",
        "registry.example.com",
        id="an image of another registry",
    ),
]


@pytest.mark.parametrize(("one", "reason", "says"), VERDICTS)
def test_an_image_runs_within_what_the_platform_gives(
    one: Judged, reason: str | None, says: str
) -> None:
    violation = first_violation(RULES, one)
    assert (violation.reason if violation else None) == reason
    assert says in (violation.message if violation else "")


def chosen(phase: Phase, pods: Pods, **spec: Any) -> Selection:
    """Return what is loaded of a package in a phase of its rollout."""
    one = imaged(**spec)
    document = document_of(one)
    version = VersionId(document.version, document.checksum)
    weight = 100 if phase is Phase.COMPLETE else 0
    record = Record(Progress(version, None, phase, 990, weight=weight, started_at=990))
    candidate = Candidate(
        package=one,
        created="1",
        asked=Asked(version),
        record=record,
        documents={document.checksum: document},
    )
    offered = Offered.by(organization(spec=ROOM).spec)
    return select([candidate], Surroundings(offered=offered, pods=pods, now=1000))


CHECKSUM = document_of(imaged()).checksum


def test_a_version_runs_from_the_moment_on_at_which_it_is_loaded() -> None:
    selection = chosen(Phase.LOAD, Pods())
    ((route,),) = [one.versions for one in selection.routes]
    assert route.endpoint == f"http://{dedicated.name('parcels', CHECKSUM)}:80"
    assert [one.checksum for one in selection.images] == [CHECKSUM]


def test_an_image_is_not_asked_for_its_health_before_its_pods_are_ready() -> None:
    waiting = chosen(Phase.LOAD, Pods({CHECKSUM: "its pods are not ready"}))
    ready = chosen(Phase.LOAD, Pods())
    assert waiting.routes[0].versions[0].check == ""
    assert ready.routes[0].versions[0].check != ""
    wake_at = waiting.decided["parcels"].wake_at
    assert wake_at is not None
    assert wake_at <= 1003


def test_an_image_that_crashes_again_and_again_is_taken_back() -> None:
    failure = Failure("CrashLoop", "its pods crash again and again (exit code 1)")
    selection = chosen(Phase.LOAD, Pods({CHECKSUM: "crashes"}, failures={CHECKSUM: failure}))
    record = selection.decided["parcels"].record
    assert record is not None
    assert (record.progress.phase, record.progress.failure) == (Phase.RESTORED, failure)
    assert selection.images == ()


def test_a_version_that_serves_and_lost_all_its_pods_says_so() -> None:
    selection = chosen(Phase.COMPLETE, Pods({CHECKSUM: "gone"}, down=frozenset({CHECKSUM})))
    waiting = selection.decided["parcels"].waiting
    assert waiting is not None
    assert waiting.reason == "ImageNotAvailable"
    assert selection.routes[0].versions[0].weight == 100


def pod(reason: str, message: str = "", **status: Any) -> dict[str, Any]:
    waiting = {"waiting": {"reason": reason, "message": message}}
    return {"metadata": {}, "status": {"containerStatuses": [{"state": waiting, **status}]}}


def test_why_pods_do_not_start_is_told_in_the_kubelets_words() -> None:
    crashed = pod("CrashLoopBackOff", lastState={"terminated": {"exitCode": 3}})
    starting, absent = pod("ContainerCreating"), pod("ImagePullBackOff", "no such image")
    assert trouble([starting]) == ("", None)
    assert trouble([starting, absent]) == (
        "its pods do not start: ImagePullBackOff no such image",
        None,
    )
    said, failure = trouble([starting, absent, crashed])
    assert "exit code 3" in said
    assert failure is not None
    assert failure.reason == "CrashLoop"
    _, failure = trouble([pod("CreateContainerConfigError", "container has runAsNonRoot")])
    assert failure is not None
    assert "runAsNonRoot" in failure.message


def test_a_pod_that_is_leaving_says_nothing() -> None:
    leaving = pod("CrashLoopBackOff") | {"metadata": {"deletionTimestamp": "now"}}
    assert trouble([leaving]) == ("", None)
