"""The packaging command, as an author runs it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bulkhead_api import package_manifest
from bulkhead_api.package_manifest import ManifestError
from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_operator.packaging.command import run

REPOSITORY = Path(__file__).resolve().parents[4]
EXAMPLE = REPOSITORY / "examples" / "package"
REPOSITORY_OF_IMAGES = "registry.example.com/agents/support"


@pytest.fixture
def author(tmp_path: Path) -> Path:
    """An author's folder."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "author"))


def build(author: Path, output: Path, *options: str) -> Path:
    assert run(["build", str(author), "--output", str(output), *options]) == 0
    return output


def applied(output: Path) -> list[dict[str, object]]:
    return list(yaml.safe_load_all((output / "agentpackage.yaml").read_text()))


def test_the_files_of_an_author_become_a_version(author: Path, tmp_path: Path) -> None:
    output = build(author, tmp_path / "out", "--namespace", "org-acme")
    (written,) = applied(output)
    package = AgentPackage.model_validate(written)
    manifest = package_manifest.read(
        (output / "package.json").read_bytes(), package="support", version="1.0.0"
    )
    (agent,) = package.spec.agents
    assert (package.metadata.name, package.metadata.namespace) == ("support", "org-acme")
    assert agent.name == "support"
    assert agent.instructions == (author / "agents" / "support.md").read_text().strip()
    assert [tool.name for tool in package.spec.tools] == ["order_status"]
    assert package.spec.rollout.strategy == "Canary"
    assert (manifest.agents, manifest.tools) == (package.spec.agents, package.spec.tools)
    inline = PackageDocument.of("support", "1.0.0", package.spec.agents, package.spec.tools)
    assert manifest.checksum == inline.checksum


@pytest.mark.parametrize(
    "options",
    [(), ("--config-map", "support-1"), ("--oci", REPOSITORY_OF_IMAGES)],
    ids=["in the resource", "in a ConfigMap", "in an artifact"],
)
def test_the_same_files_make_the_same_bytes(
    author: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    def contents(output: Path) -> dict[str, bytes]:
        files = (path for path in output.rglob("*") if path.is_file())
        return {str(path.relative_to(output)): path.read_bytes() for path in files}

    first = contents(build(author, tmp_path / "one", *options))
    other = Path(shutil.copytree(author, tmp_path / "elsewhere"))
    assert contents(build(other, tmp_path / "two", *options)) == first


def test_a_config_map_comes_before_the_package_that_names_it(author: Path, tmp_path: Path) -> None:
    output = build(author, tmp_path / "out", "--config-map", "support-1")
    holder, package = applied(output)
    spec = AgentPackage.model_validate(package).spec
    assert (holder["kind"], package["kind"]) == ("ConfigMap", "AgentPackage")
    assert holder["data"] == {"package.json": (output / "package.json").read_text()}
    assert spec.source is not None
    assert spec.source.config_map is not None
    assert (spec.source.config_map.name, spec.agents, spec.tools) == ("support-1", (), ())


def test_an_artifact_is_pinned_by_the_digest_that_its_layout_has(
    author: Path, tmp_path: Path
) -> None:
    output = build(
        author, tmp_path / "out", "--oci", REPOSITORY_OF_IMAGES, "--pull-secret", "registry"
    )
    (package,) = applied(output)
    source = AgentPackage.model_validate(package).spec.source
    index = json.loads((output / "oci" / "index.json").read_bytes())
    assert source is not None
    assert source.oci is not None
    digest = index["manifests"][0]["digest"]
    assert source.oci.reference == f"{REPOSITORY_OF_IMAGES}@{digest}"
    assert source.oci.pull_secret_name == "registry"
    blob = output / "oci" / "blobs" / Path(*digest.split(":"))
    layer = json.loads(blob.read_bytes())["layers"][0]
    content = output / "oci" / "blobs" / Path(*layer["digest"].split(":"))
    assert content.read_bytes() == (output / "package.json").read_bytes()


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(directory: Path) -> None:
        path = directory / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "the manifest was edited": (
        _edit("package.json", "Never guess", "Always guess"),
        "package.json: its content does not match its checksum",
    ),
    "the resource was edited": (
        _edit("agentpackage.yaml", "@sha256:", "@sha256:0"),
        "agentpackage.yaml: spec.source.oci.reference: ",
    ),
    "the resource is of another version": (
        _edit("agentpackage.yaml", "version: 1.0.0", "version: 1.0.1"),
        "agentpackage.yaml: holds support 1.0.1, but package.json support 1.0.0",
    ),
    "a blob was edited": (
        lambda directory: (directory / "oci" / "oci-layout").write_text("{}"),
        "oci/oci-layout: is not what package.json makes",
    ),
    "a file is missing": (
        lambda directory: (directory / "package.json").unlink(),
        "package.json: cannot be read: No such file or directory",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_was_packaged_is_known_as_damaged_when(
    author: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = build(author, tmp_path / "out", "--oci", REPOSITORY_OF_IMAGES)
    assert run(["verify", str(output)]) == 0
    damage, reason = DAMAGED[case]
    damage(output)
    assert run(["verify", str(output)]) == 1
    assert reason in capsys.readouterr().err


def test_an_inline_resource_that_was_edited_is_known_as_such(
    author: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = build(author, tmp_path / "out")
    _edit("agentpackage.yaml", "Never guess", "Always guess")(output)
    assert run(["verify", str(output)]) == 1
    assert "delivers other content than package.json holds" in capsys.readouterr().err


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no agent": (
        lambda author: shutil.rmtree(author / "agents"),
        "no agent: write agent.yaml or agents/NAME.yaml",
    ),
    "a field that is none": (
        _edit("agents/support.yaml", "tools:", "tool:"),
        "support.yaml: tool: Extra inputs are not permitted",
    ),
    "instructions twice": (
        _edit("agents/support.yaml", "description:", "instructions:"),
        "support.yaml: instructions stand in support.md too: keep one of them",
    ),
    "a tool that is no JSON": (
        _edit("tools/order_status.json", "{", "["),
        "order_status.json: cannot be parsed",
    ),
    "a version that is none": (
        _edit("package.yaml", "1.0.0", "one"),
        "package.yaml: spec.version: ",
    ),
    "agents in the wrong file": (
        _edit("package.yaml", "healthChecks:", "agents:"),
        "package.yaml: agents must not be given",
    ),
    "two agents of one name": (
        lambda author: (author / "agent.yaml").write_text("name: support"),
        "two agents have the name 'support'",
    ),
    "a file that is too large": (
        lambda author: (author / "agents" / "support.md").write_text("x" * 300_000),
        "support.md: has more than 262144 bytes",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_author_is_told_the_file_and_the_reason_of(
    author: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, reason = WRONG[case]
    spoil(author)
    assert run(["build", str(author), "--output", str(tmp_path / "out")]) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_manifest_of_another_version_is_refused(author: Path, tmp_path: Path) -> None:
    raw = (build(author, tmp_path / "out") / "package.json").read_bytes()
    with pytest.raises(ManifestError, match=r"it is support 1\.0\.0, not support 2\.0\.0"):
        package_manifest.read(raw, package="support", version="2.0.0")


def test_it_runs_as_a_module_without_a_cluster(author: Path, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(str(REPOSITORY / part) for part in ("crds", "operator")),
    }
    command = [sys.executable, "-m", "bulkhead_operator", "package"]
    built = subprocess.run(
        [*command, "build", str(author), "--output", str(tmp_path / "out")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    checked = subprocess.run(
        [*command, "verify", str(tmp_path / "out")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
    assert built.stdout.startswith("support 1.0.0 sha256:")
    assert (checked.returncode, checked.stdout[-9:]) == (0, "is whole\n")
