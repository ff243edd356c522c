"""Signing in and out, and where the key is meanwhile."""

import pytest

from tests.support.browser import Browser
from tests.support.runtime.tenants import Tenant
from tests.support.runtime_process import KEY, RuntimeProcess
from tests.ui.visits import Visit

_STORED = """
return JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie, location.href,
  document.documentElement.outerHTML, document.getElementById("key").value]);
"""


def _stored(browser: Browser) -> str:
    return str(browser.run(_STORED))


def test_the_organizations_key_opens_its_page(visit: Visit) -> None:
    assert visit.browser.one("#organization").text == "acme"
    assert visit.browser.one("#main h1").text == "Overview"
    assert visit.browser.driver.title == "Overview · acme · Bulkhead"


@pytest.mark.parametrize(
    ("key", "told"),
    [
        pytest.param("bh_wrong", "Show one of this organization's API keys", id="unknown"),
        pytest.param("schlüssel", "visible ASCII characters", id="no-header-could-carry-it"),
    ],
)
def test_a_wrong_key_is_refused_with_what_to_do(
    browser: Browser, runtime: RuntimeProcess, key: str, told: str
) -> None:
    visit = Visit(browser, runtime.url)
    visit.open()
    visit.try_key(key)
    browser.one("#login-problem .problem", told)
    assert browser.focused().get_attribute("id") == "key"
    assert not browser.one("#login").find_elements("css selector", "[name]")


def test_the_key_is_in_no_storage_unless_the_reader_asks_for_it(visit: Visit) -> None:
    assert KEY not in _stored(visit.browser)
    visit.browser.driver.refresh()
    visit.browser.one("#key")


def test_a_kept_key_outlives_a_reload_and_ends_with_the_sign_out(
    browser: Browser, runtime: RuntimeProcess
) -> None:
    visit = Visit(browser, runtime.url)
    visit.sign_in(KEY, keep=True)
    browser.driver.refresh()
    assert browser.one("#main h1").text == "Overview"
    visit.go("sessions")
    browser.click("#logout")
    browser.one("#key")
    assert KEY not in _stored(browser)
    assert browser.driver.current_url == f"{runtime.url}/ui"
    assert "Sum 1" not in browser.run("return document.documentElement.outerHTML")
    browser.driver.refresh()
    browser.one("#key")


def test_a_key_that_is_withdrawn_meanwhile_leads_back_to_the_entrance(
    browser: Browser, tenant: Tenant
) -> None:
    tenant.follow()
    with tenant.running() as runtime:
        visit = Visit(browser, runtime.url)
        visit.sign_in(KEY, keep=True)
        visit.settle()
        tenant.files.api_key.switch({"token": b"bh_rotated"})

        def refused() -> bool:
            browser.run("location.hash = location.hash === '#tools' ? '#agents' : '#tools'")
            return browser.all("#key")[0].is_displayed()

        browser.wait(refused, "the page asks for a key again")
        browser.one("#login-problem", "Sign in with a valid key.")
        assert KEY not in _stored(browser)
        visit.try_key("bh_rotated")
        browser.one("#main h1")


def test_a_runtime_that_is_not_ready_says_so_at_the_entrance(
    browser: Browser, tenant: Tenant
) -> None:
    with tenant.running() as runtime:
        visit = Visit(browser, runtime.url)
        visit.open()
        visit.try_key(KEY)
        browser.one("#login-problem", "no configuration yet")
        browser.one("#login-problem", "Try again in")


def test_a_runtime_that_is_gone_says_so_at_the_entrance(browser: Browser, tenant: Tenant) -> None:
    tenant.follow()
    with tenant.running() as runtime:
        visit = Visit(browser, runtime.url)
        visit.open()
    visit.try_key(KEY)
    browser.one("#login-problem", "The runtime could not be reached")
