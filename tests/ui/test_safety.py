"""Nothing that a model, a tenant or a stranger writes acts as anything but text, and nothing that
the page knows leaves for another place."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.v1alpha1.agents import HttpTool
from tests.support.browser import Browser
from tests.support.runtime.tenants import Tenant, talk
from tests.support.runtime_process import KEY, RuntimeProcess, agent
from tests.support.stub_provider import StubProvider
from tests.ui.visits import SECTIONS, Visit

HOSTILE = (
    "<img src=x onerror=window.hacked=1><script>window.hacked=2</script>"
    '"><svg onload=alert(3)><a href="javascript:alert(4)">x</a>${alert(5)}{{alert(6)}}'
    "<iframe srcdoc='<script>alert(7)</script>'></iframe></textarea></title></style>"
)
_PLANTED = "img[src='x'], script:not([src]), iframe, a[href^='javascript'], svg[onload]"


@pytest.fixture(scope="module")
def hostile(
    tmp_path_factory: pytest.TempPathFactory, provider: StubProvider
) -> Iterator[tuple[RuntimeProcess, str]]:
    """A runtime in which everything that people can name or write is hostile."""
    tool = HttpTool.model_validate(
        {
            "name": "harmful",
            "description": HOSTILE,
            "url": "https://orders.example/v1/{id}",
            "parameters": {
                "type": "object",
                "properties": {"id": {"type": "string", "description": HOSTILE}},
            },
        }
    )
    villain = agent("villain", description=HOSTILE, instructions=HOSTILE, tools=["harmful"])
    tenant = Tenant(tmp_path_factory.mktemp("hostile"), provider)
    tenant.follow((PackageDocument.of("package", "1.0.0", (villain,), (tool,)), 100))
    with tenant.running() as process:
        body = {"title": HOSTILE[:200], "metadata": {HOSTILE[:64]: HOSTILE}}
        yield process, asyncio.run(talk(process, HOSTILE, "villain", **body))


def _assert_harmless(browser: Browser) -> None:
    assert browser.dialog() is None
    assert browser.run("return window.hacked ?? null") is None
    assert not browser.all(_PLANTED)
    assert browser.violations() == []


def test_hostile_text_stays_text_in_every_section(
    browser: Browser, hostile: tuple[RuntimeProcess, str]
) -> None:
    runtime, _ = hostile
    visit = Visit(browser, runtime.url)
    visit.sign_in(KEY)
    seen = 0
    for section in SECTIONS:
        visit.go(section)
        for summary in browser.all("summary"):
            summary.click()
        seen += "onerror=window.hacked" in browser.one("#main").text
        _assert_harmless(browser)
    # In the descriptions of overview, agents and tools, and as the title of a session.
    assert seen == 4


def test_hostile_names_and_messages_of_a_session_stay_text(
    browser: Browser, hostile: tuple[RuntimeProcess, str]
) -> None:
    runtime, session_id = hostile
    visit = Visit(browser, runtime.url)
    visit.sign_in(KEY)
    browser.run("location.hash = arguments[0]", f"sessions/{session_id}")
    visit.settle()
    browser.one(".turn.user .text", HOSTILE)
    browser.one("#main h3", HOSTILE[:200])
    _assert_harmless(browser)
    browser.click("button", "Continue in chat")
    browser.one(".log .turn.user .text", HOSTILE)
    _assert_harmless(browser)


def test_a_hostile_answer_stays_text_while_it_streams_and_when_it_is_whole(
    browser: Browser, hostile: tuple[RuntimeProcess, str]
) -> None:
    runtime, _ = hostile
    visit = Visit(browser, runtime.url)
    visit.sign_in(KEY)
    visit.chat_with("villain")
    visit.say(HOSTILE)
    # The embedded model quotes what it was told.
    assert HOSTILE[:200] in visit.answered()
    _assert_harmless(browser)


@pytest.mark.parametrize(
    "fragment",
    [
        "sessions/" + quote(HOSTILE),
        "__proto__",
        "constructor",
        "sessions/%zz",
        "sessions/..%2f..",
        "x",
    ],
)
def test_a_hostile_address_shows_a_section_or_a_problem(visit: Visit, fragment: str) -> None:
    visit.browser.run("location.hash = arguments[0]", fragment)
    visit.settle()
    assert visit.browser.one("#main h1").text in {"Overview", "Session", "Sessions"}
    _assert_harmless(visit.browser)


@pytest.mark.parametrize(
    "planting",
    [
        pytest.param("main.innerHTML = text", id="as-markup"),
        pytest.param("main.insertAdjacentHTML('beforeend', text)", id="as-more-markup"),
        pytest.param("main.setAttribute('onclick', text)", id="as-a-listener"),
        pytest.param(
            "main.append(Object.assign(document.createElement('script'), {text}))", id="as-a-script"
        ),
        pytest.param("setTimeout(text)", id="as-a-timer"),
    ],
)
def test_text_that_is_planted_all_the_same_is_refused_by_the_browser(
    visit: Visit, planting: str
) -> None:
    refused = visit.browser.run(
        "const main = document.getElementById('main'); const text = arguments[0];"
        f"try {{ {planting}; return ''; }} catch (error) {{ return error.name; }}",
        "window.hacked = 8",
    )
    assert refused == "TypeError"
    assert visit.browser.run("return window.hacked ?? null") is None


def test_another_site_cannot_put_the_page_into_a_frame(
    visit: Visit, runtime: RuntimeProcess, tmp_path: Path
) -> None:
    trap = tmp_path / "trap.html"
    trap.write_text(f"<iframe src='{runtime.url}/ui'></iframe>")
    browser = visit.browser
    browser.driver.get(trap.as_uri())
    browser.driver.switch_to.frame(0)
    try:
        assert not browser.all("#key")
    finally:
        browser.driver.switch_to.default_content()
        browser.driver.get("about:blank")


def test_no_request_leaves_for_another_origin_and_none_has_the_key_in_its_address(
    visit: Visit, runtime: RuntimeProcess
) -> None:
    browser = visit.browser
    before = len(browser.requests())
    for section in SECTIONS:
        visit.go(section)
    visit.chat_with("assistant")
    visit.say("Hello")
    visit.answered()
    made = browser.requests()[before:]
    assert len(made) > len(SECTIONS)
    assert [sent.url for sent in made if not sent.url.startswith(f"{runtime.url}/")] == []
    assert [sent.url for sent in browser.requests() if KEY in sent.url] == []
    assert all("cookie" not in {name.lower() for name in sent.headers} for sent in made)
    assert browser.violations() == []
