"""What each section shows of a running organization."""

import ast
import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.browser import Browser
from tests.support.runtime.tenants import READER_KEY, Tenant, talk
from tests.support.runtime_process import KEY, RuntimeProcess
from tests.ui.gateways import in_front_of
from tests.ui.visits import SECTIONS, Visit


def test_the_overview_shows_health_figures_and_budgets(
    visit: Visit, runtime: RuntimeProcess
) -> None:
    asyncio.run(talk(runtime, "Hello"))
    visit.go("tools")
    visit.go("overview")
    text = visit.browser.one("#main").text
    assert "Ready" in text
    assert "model credentials\ncomplete" in text
    budget = visit.browser.one(".budgets meter[aria-label='Today: tokens']")
    assert float(budget.get_attribute("max") or 0) == 20_000
    assert 0 < float(budget.get_attribute("value") or 0) < 20_000
    visit.browser.click("button[aria-label='Chat with librarian']")
    selected = visit.browser.one(".heading select").get_property("value")
    assert selected == "librarian"


def test_what_runs_is_shown_as_it_changes(browser: Browser, tenant: Tenant) -> None:
    tenant.follow()
    with tenant.running() as runtime:
        visit = Visit(browser, runtime.url)
        visit.sign_in(KEY)
        browser.one(".tile", "Sessions\n0")
        asyncio.run(talk(runtime, "Hello"))
        browser.one(".tile", "Sessions\n1")
        browser.one(".budgets", "Today: tokens")
    browser.one(".problem", "The runtime could not be reached")


def test_the_last_hour_is_there_once_it_is_recorded(browser: Browser, tenant: Tenant) -> None:
    tenant.follow()
    with tenant.running() as runtime:
        for _ in range(3):
            asyncio.run(talk(runtime, "Hello"))
        visit = Visit(browser, runtime.url)
        visit.sign_in(KEY)

        def recorded() -> bool:
            visit.go("tools")
            visit.go("overview")
            return "Executions\n3" in browser.one("#main").text

        browser.wait(recorded, "three executions are recorded")
        bars = browser.all(".chart rect title")
        told = [bar.get_attribute("textContent") or "" for bar in bars]
        assert len(told) == 60
        assert sum(int(one.split(": ")[1].split()[0]) for one in told) == 3


def test_packages_show_each_version_with_its_share(visit: Visit) -> None:
    visit.go("agents")
    shares = [item.text.split("\n") for item in visit.browser.all(".shares li")]
    assert shares == [["1.4.0", "90 %"], ["1.5.0", "10 %"], ["2.0.3", "100 %"]]
    text = visit.browser.one("#main").text
    assert "Answers questions and calculates." in text
    assert "find_order" in text


def test_tools_and_models_show_what_they_take_and_cost(visit: Visit) -> None:
    visit.go("tools")
    visit.browser.click(".rows summary", "Arguments")
    text = visit.browser.one("#main").text
    assert "Finds an order by its number." in text
    assert '"type": "object"' in text
    assert "$15 per million" in text
    assert "offline/echo" in text


def test_usage_adds_up_by_day_agent_and_model(browser: Browser, tenant: Tenant) -> None:
    tenant.follow()
    with tenant.running() as runtime:
        asyncio.run(talk(runtime, "Hello", "support"))
        asyncio.run(talk(runtime, "Hello", "assistant"))
        visit = Visit(browser, runtime.url)
        visit.sign_in(KEY)
        visit.go("usage")
        tables = {
            table.get_attribute("aria-label"): [
                row.text for row in table.find_elements("css selector", "tbody tr")
            ]
            for table in browser.all(".scrolls")
        }
        # 7 tokens at 15 and 60 at 60 dollars per million.
        assert "support 1 7 60 $0.003705" in tables["Use by agent"]
        assert len(tables["Use by agent"]) == 2
        assert len(browser.all(".chart rect")) == 30
        browser.click(".heading option[value='7']")
        visit.settle()
        assert len(browser.all(".chart rect")) == 7


def test_snippets_name_this_address_and_the_chosen_agent_and_no_key(
    visit: Visit, runtime: RuntimeProcess
) -> None:
    visit.go("connect")
    visit.browser.click(".heading option[value='librarian']")
    _, python, javascript = (item.text for item in visit.browser.all(".snippet pre"))
    for snippet in (python, javascript):
        assert f'"{runtime.url}/v1"' in snippet
        assert '"librarian"' in snippet
    assert ast.parse(python)
    assert KEY not in visit.browser.text()


def test_the_first_snippet_works_as_it_stands(visit: Visit) -> None:
    visit.go("connect")
    snippet = visit.browser.all(".snippet pre")[0].text
    done = subprocess.run(
        ["sh", "-c", snippet],
        env={"PATH": os.environ["PATH"], "BULKHEAD_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "event: done" in done.stdout


def test_all_of_it_works_below_a_path_of_a_gateway(
    browser: Browser, runtime: RuntimeProcess
) -> None:
    with in_front_of(runtime.url) as address:
        visit = Visit(browser, address)
        visit.sign_in(KEY)
        for section in SECTIONS:
            visit.go(section)
            assert not browser.all(".problem")
        visit.chat_with("support")
        visit.say("Hello")
        assert visit.answered().startswith("word0 word1")
        visit.go("connect")
        assert f"{address}/v1/agents/" in browser.all(".snippet pre")[0].text
        browser.driver.get(f"{address}/ui/")
        browser.one("#key")
        assert browser.driver.current_url == f"{address}/ui"


def test_a_call_of_a_tool_is_shown_with_its_arguments_and_result(
    visit: Visit, runtime: RuntimeProcess
) -> None:
    session_id = asyncio.run(talk(runtime, "What is 6 * 7?"))
    visit.browser.run("location.hash = arguments[0]", f"sessions/{session_id}")
    visit.settle()
    visit.browser.click("summary", "Calls calculate")
    visit.browser.one("details pre", '"expression":"6 * 7"')
    visit.browser.click("summary", "Result")
    visit.browser.one(".turn.tool pre", "42")


def test_sessions_come_page_by_page_newest_first(browser: Browser, tenant: Tenant) -> None:
    tenant.follow()
    with tenant.running() as runtime:
        for number in range(23):
            asyncio.run(talk(runtime, "Hello", title=f"Talk {number:02}"))
        visit = Visit(browser, runtime.url)
        visit.sign_in(KEY)
        visit.go("sessions")
        assert [link.text for link in browser.all(".rows a")] == [
            f"Talk {number:02}" for number in range(22, 2, -1)
        ]
        browser.click("button", "Show more")
        browser.one(".rows a", "Talk 00")
        assert browser.focused().text == "Talk 02"
        browser.gone("button", "Show more")


def test_a_session_is_read_continued_exported_and_deleted(
    browser: Browser, tenant: Tenant, tmp_path: Path
) -> None:
    tenant.follow()
    with tenant.running() as runtime:
        session_id = asyncio.run(
            talk(runtime, "My name is Ada", title="Names", metadata={"team": "a"})
        )
        visit = Visit(browser, runtime.url)
        visit.sign_in(KEY)
        visit.go("sessions")
        browser.click(".rows a", "Names")
        visit.settle()
        browser.one(".turn.user", "My name is Ada")
        browser.one(".facts", "team")
        assert _exported(browser, tmp_path / "saved")[0]["session"]["id"] == session_id

        browser.click("button", "Continue in chat")
        browser.one(".log .turn.user", "My name is Ada")
        visit.say("What is my name?")
        browser.one(".turn.assistant .text", 'the first question was: "My name is Ada"')

        browser.click(".log a", "2 messages")
        visit.settle()
        browser.click("button", "Delete")
        browser.click("dialog button", "Keep it")
        browser.gone("dialog")
        browser.click("button", "Delete")
        browser.click("dialog button", "Delete session")
        browser.one(".nothing", "No conversation yet.")


def _exported(browser: Browser, folder: Path) -> list[dict[str, Any]]:
    """Save the session that is shown and return the documents of the file."""
    folder.mkdir()
    browser.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.click("button", "Export")
    file = browser.wait(lambda: next(folder.glob("ses_*.ndjson"), None), "the export is saved")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_key_that_only_reads_sessions_reads_them_and_is_told_what_it_lacks(
    browser: Browser, runtime: RuntimeProcess
) -> None:
    visit = Visit(browser, runtime.url)
    visit.sign_in(READER_KEY)
    visit.go("sessions")
    browser.click(".rows a", "Sum 1")
    visit.settle()
    browser.one(".turn.user", "What is 1 times 7?")
    browser.click("button", "Delete")
    browser.click("dialog button", "Delete session")
    browser.one(".problem", "This needs the scope `sessions:write`")
    visit.chat_with("assistant")
    visit.say("Hello")
    browser.one(".turn .problem", "agents:run")
    visit.go("usage")
    assert len(browser.all(".problem")) == 5


def test_an_organization_without_packages_says_what_is_missing(
    browser: Browser, tenant: Tenant
) -> None:
    tenant.files.follow()
    with tenant.running() as runtime:
        visit = Visit(browser, runtime.url)
        visit.sign_in(KEY)
        browser.one(".nothing", "No agent is in service yet.")
        for section in ("chat", "agents", "connect"):
            visit.go(section)
        browser.one(".snippet", "AGENT")


def test_a_part_that_fails_is_tried_again_alone(browser: Browser, runtime: RuntimeProcess) -> None:
    visit = Visit(browser, runtime.url)
    visit.sign_in(KEY)
    visit.settle()
    browser.command("Network.enable")
    browser.command("Network.setBlockedURLs", urls=["*/v1/tools*"])
    visit.go("tools")
    browser.one(".problem", "The runtime could not be reached")
    browser.one("#main", "offline/echo")
    browser.command("Network.setBlockedURLs", urls=[])
    browser.click(".problem button", "Try again")
    browser.one("#main", "find_order")
    assert not browser.all(".problem")


def test_a_page_out_of_sight_gives_its_connection_back_until_it_is_seen_again(
    visit: Visit,
) -> None:
    browser = visit.browser
    visit.settle()

    def streams() -> int:
        return sum(sent.url.endswith("/v1/metrics/stream") for sent in browser.requests())

    before, seen = streams(), browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    browser.driver.close()
    browser.driver.switch_to.window(seen)
    browser.wait(lambda: streams() > before, "the figures are followed anew")
    assert not browser.all(".problem")
