"""The contract between operator and runtime: hashes and checksums mean what they say."""

import json

import pytest
from pydantic import ValidationError

from bulkhead_api.runtime_config import (
    ModelsConfig,
    PackageDocument,
    PackageRoute,
    PoolConfig,
    RuntimeConfig,
    VersionRoute,
)
from bulkhead_api.v1alpha1.agent_package import Agent, HttpTool
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


def test_tools_are_part_of_the_content_only_where_there_are_any() -> None:
    tool = HttpTool(name="look_up", description="Looks up.", url="https://example.com/{id}")
    plain = PackageDocument.of("support", "1.0.0", AGENTS)
    equipped = PackageDocument.of("support", "1.0.0", AGENTS, (tool,))
    assert "tools" not in plain.written()
    assert equipped.checksum != plain.checksum
    read = PackageDocument.model_validate_json(equipped.written())
    assert read == equipped
    assert read.intact()
    other = tool.model_copy(update={"url": "https://example.com/all"})
    assert not equipped.model_copy(update={"tools": (other,)}).intact()


def nested(levels: int) -> dict[str, object]:
    return {"a": nested(levels - 1)} if levels > 1 else {}


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        pytest.param({"type": "string"}, "type: object", id="arguments without names"),
        pytest.param({"description": "x" * 16384}, "at most 16384", id="a schema too large"),
        pytest.param(nested(17), "16 levels", id="deep"),
    ],
)
def test_a_schema_of_arguments_is_bounded(parameters: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        HttpTool(name="t", description="d", url="https://a.test/", parameters=parameters)


def test_a_configuration_of_before_has_the_hash_that_it_had_then() -> None:
    content = config().with_hash()
    assert content.hash == "0691f4cab371d3162eef8b9e437d39be"
    assert set(json.loads(content.written())) == {
        "organization",
        "runtimeId",
        "hash",
        "limits",
        "models",
        "pool",
        "routes",
    }


def test_a_field_that_nobody_uses_changes_no_checksum() -> None:
    written = PackageDocument.of("support", "1.0.0", AGENTS).written()
    assert "maxIterations" not in written
    explicit = (Agent(name="assistant", instructions="Grüß Gott.", max_iterations=5),)
    assert PackageDocument.of("support", "1.0.0", explicit).checksum == (
        PackageDocument.of("support", "1.0.0", AGENTS).checksum
    )
