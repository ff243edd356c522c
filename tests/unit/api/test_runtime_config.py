"""The contract between operator and runtime: hashes and checksums mean what they say."""

from bulkhead_api.runtime_config import (
    ModelsConfig,
    PackageDocument,
    PackageRoute,
    PoolConfig,
    RuntimeConfig,
    VersionRoute,
)
from bulkhead_api.v1alpha1.agent_package import Agent
from bulkhead_api.v1alpha1.limits import Limits

AGENTS = (Agent(name="assistant", instructions="Grüß Gott."),)


def config(**changes: object) -> RuntimeConfig:
    document = PackageDocument.of("support", "1.0.0", AGENTS)
    route = VersionRoute(version="1.0.0", checksum=document.checksum, weight=100)
    settings: dict[str, object] = {
        "organization": "acme",
        "runtime_id": "rt-1",
        "limits": Limits(),
        "models": ModelsConfig(default="offline/echo"),
        "pool": PoolConfig(name="default", max_memory_mb=256),
        "routes": (PackageRoute(package="support", versions=(route,)),),
        **changes,
    }
    return RuntimeConfig.model_validate(settings)


def test_a_document_survives_the_way_through_json_intact() -> None:
    document = PackageDocument.of("support", "1.0.0", AGENTS)
    read = PackageDocument.model_validate_json(document.written())
    assert read == document
    assert read.intact()


def test_a_document_whose_content_was_changed_is_not_intact() -> None:
    document = PackageDocument.of("support", "1.0.0", AGENTS)
    changed = document.model_copy(update={"agents": (Agent(name="assistant"),)})
    assert not changed.intact()


def test_equal_configurations_have_equal_hashes_and_others_do_not() -> None:
    assert config().with_hash() == config().with_hash()
    assert config().with_hash().hash == config(hash="stale").with_hash().hash
    other = config(limits=Limits(max_queue_size=1)).with_hash()
    assert other.hash != config().with_hash().hash


def test_a_configuration_survives_the_way_through_json_with_its_hash() -> None:
    written = config().with_hash()
    read = RuntimeConfig.model_validate_json(written.written())
    assert read == written
    assert read.with_hash().hash == written.hash


def test_a_field_that_nobody_uses_changes_no_checksum() -> None:
    written = PackageDocument.of("support", "1.0.0", AGENTS).written()
    assert "maxIterations" not in written
    explicit = (Agent(name="assistant", instructions="Grüß Gott.", max_iterations=5),)
    assert PackageDocument.of("support", "1.0.0", explicit).checksum == (
        PackageDocument.of("support", "1.0.0", AGENTS).checksum
    )
