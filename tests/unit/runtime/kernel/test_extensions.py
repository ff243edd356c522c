"""Middleware that a package in the image adds."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.extensions import ExtensionError
from tests.support.runtime.in_process import running, say

GUARD = """
from bulkhead_runtime.errors import Problem

class Guard:
    async def __call__(self, execution, proceed):
        if any("forbidden" in text for text in execution.texts):
            raise Problem(403, "house_rule", f"{execution.context.principal.name} may not say so.")
        await proceed()

class Mute:
    async def __call__(self, execution, proceed):
        return None

def broken():
    raise OSError("no licence file")
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder of installed packages that this process imports from."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "house_rules.py").write_text(GUARD)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("house_rules", None)


def _install(site: Path, factory: str) -> None:
    """Install a package as pip does: metadata whose entry points name the factory."""
    metadata = site / "house_rules-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: house-rules\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[bulkhead.middleware]\nhouse = house_rules:{factory}\n"
    )


async def test_an_installed_middleware_sees_every_execution_and_may_refuse_it(
    tmp_path: Path, site: Path
) -> None:
    _install(site, "Guard")
    async with running(tmp_path) as runtime:
        answered = await say(runtime, "hello")
        with pytest.raises(Problem) as caught:
            await say(runtime, "a forbidden word")
        assert (await runtime.store.usage()).sessions == 1
    assert answered.status == "completed"
    assert (caught.value.code, caught.value.message) == ("house_rule", "alice may not say so.")


async def test_a_middleware_that_does_not_proceed_has_refused(tmp_path: Path, site: Path) -> None:
    _install(site, "Mute")
    async with running(tmp_path) as runtime:
        with pytest.raises(Problem) as caught:
            await say(runtime, "hello")
    assert caught.value.code == "refused_by_middleware"


async def test_a_middleware_that_cannot_be_made_ends_the_start(tmp_path: Path, site: Path) -> None:
    _install(site, "broken")
    with pytest.raises(ExtensionError, match=r"'house'.*no licence file"):
        async with running(tmp_path):
            pytest.fail("the runtime started without its guard")
