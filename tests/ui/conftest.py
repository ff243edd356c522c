"""One browser for all tests, one runtime for those that change nothing about it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import stub_provider
from tests.support.browser import Browser
from tests.support.runtime.tenants import Tenant, talk
from tests.support.runtime_process import KEY, RuntimeProcess
from tests.support.stub_provider import StubProvider
from tests.ui.visits import Visit


@pytest.fixture(scope="session")
def window() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def provider() -> Iterator[StubProvider]:
    with stub_provider.running() as stub:
        yield stub


@pytest.fixture
def tenant(tmp_path: Path, provider: StubProvider) -> Tenant:
    """An organization of the test's own, whose runtime it starts itself."""
    return Tenant(tmp_path, provider)


@pytest.fixture(scope="module")
def runtime(
    tmp_path_factory: pytest.TempPathFactory, provider: StubProvider
) -> Iterator[RuntimeProcess]:
    """A runtime with packages, tools and a few conversations."""
    tenant = Tenant(tmp_path_factory.mktemp("tenant"), provider)
    tenant.follow()
    with tenant.running() as process:
        for number in range(3):
            asyncio.run(talk(process, f"What is {number} times 7?", title=f"Sum {number}"))
        yield process


@pytest.fixture
def browser(window: Browser) -> Browser:
    """The window as it is at first: wide, light."""
    window.resize(1280, 860)
    window.prefer("light")
    return window


@pytest.fixture
def visit(browser: Browser, runtime: RuntimeProcess) -> Visit:
    """Somebody who has signed in with the organization's key."""
    visit = Visit(browser, runtime.url)
    visit.sign_in(KEY)
    return visit
