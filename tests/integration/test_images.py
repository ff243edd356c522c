"""What is in the images, read from their archives: nothing that should not be, and not too much."""

import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pytest

from tests.cluster import images

MEGABYTE = 1_000_000
WHITEOUT = ".wh."


@dataclass(frozen=True)
class Content:
    """The configuration of an image and the size of each of its files."""

    config: dict[str, Any]
    files: dict[PurePosixPath, int]

    @classmethod
    def of(cls, image: images.Image) -> "Content":
        files: dict[PurePosixPath, int] = {}
        with tarfile.open(image.archive) as archive:
            (manifest,) = json.load(_member(archive, "manifest.json"))
            config = json.load(_member(archive, manifest["Config"]))["config"]
            for layer in manifest["Layers"]:
                with tarfile.open(fileobj=_member(archive, layer)) as entries:
                    _add_layer(files, entries)
        return cls(config, files)

    def named(self, pattern: str) -> list[PurePosixPath]:
        return [path for path in self.files if path.match(pattern)]


def _member(archive: tarfile.TarFile, name: str) -> Any:
    found = archive.extractfile(name)
    assert found is not None, name
    return found


def _add_layer(files: dict[PurePosixPath, int], entries: tarfile.TarFile) -> None:
    for entry in entries:
        path = PurePosixPath(entry.name)
        if path.name.startswith(WHITEOUT):
            gone = path.with_name(path.name.removeprefix(WHITEOUT))
            for former in [each for each in files if each.is_relative_to(gone)]:
                del files[former]
        elif not entry.isdir():
            files[path] = entry.size


IMAGES: dict[str, tuple[Callable[[], images.Image], int]] = {
    "operator": (images.operator_image, 220),
    "runtime": (images.runtime_image, 560),
}


@pytest.fixture(scope="module", params=IMAGES)
def built(request: pytest.FixtureRequest) -> tuple[str, Content]:
    make, _ = IMAGES[request.param]
    return request.param, Content.of(make())


def test_the_image_is_no_larger_than_promised(built: tuple[str, Content]) -> None:
    name, content = built
    assert sum(content.files.values()) < IMAGES[name][1] * MEGABYTE


def test_nothing_in_the_image_installs_or_builds_software(built: tuple[str, Content]) -> None:
    _, content = built
    for tool in ("bin/pip*", "bin/uv", "bin/gcc", "pip/__main__.py", "ensurepip/__init__.py"):
        assert content.named(tool) == [], tool


def test_no_path_file_runs_code_at_every_start(built: tuple[str, Content]) -> None:
    _, content = built
    assert content.named("*.pth") == []


def test_every_module_of_the_image_is_compiled(built: tuple[str, Content]) -> None:
    name, content = built
    sources = content.named(f"opt/bulkhead/bulkhead_{name}/*.py")
    assert sources
    for source in sources:
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
        assert compiled in content.files, source


def test_the_image_runs_as_nobody(built: tuple[str, Content]) -> None:
    name, content = built
    assert content.config["User"] == "65532:65532"
    assert content.config["Entrypoint"] == ["python3", "-m", f"bulkhead_{name}"]


def test_the_image_holds_no_trace_of_where_it_was_built(built: tuple[str, Content]) -> None:
    _, content = built
    names = {variable.partition("=")[0] for variable in content.config["Env"]}
    ours = {"PYTHONPATH", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    pythons = {"PATH", "LANG", "GPG_KEY", "PYTHON_VERSION", "PYTHON_SHA256"}
    assert names <= ours | pythons | {"LITELLM_LOCAL_MODEL_COST_MAP"}


def test_the_operator_does_not_carry_the_runtimes_dependencies() -> None:
    make, _ = IMAGES["operator"]
    content = Content.of(make())
    assert content.named("kopf/__init__.py")
    assert not content.named("litellm/__init__.py")
    assert not content.named("bulkhead_runtime/__init__.py")
