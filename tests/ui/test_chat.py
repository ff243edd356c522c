"""Talking to an agent: streams, stopping, going on, failing."""

import asyncio

from selenium.webdriver.common.keys import Keys

from tests.support.browser import Browser, Request
from tests.support.runtime.tenants import TALKER_KEY, WORDS, Tenant
from tests.support.runtime_process import KEY, RuntimeProcess
from tests.support.stub_provider import StubProvider
from tests.ui.visits import Visit


def _executions(browser: Browser) -> list[Request]:
    return [sent for sent in browser.requests() if sent.url.endswith("/execute/stream")]


def _keys(requests: list[Request]) -> list[str]:
    return [
        value
        for sent in requests
        for name, value in sent.headers.items()
        if name.lower() == "idempotency-key"
    ]


def test_an_answer_grows_word_by_word_and_is_announced_when_it_is_whole(visit: Visit) -> None:
    browser = visit.browser
    visit.chat_with("support")
    visit.say("Tell me a story")
    browser.one(".turn.assistant[aria-busy=true] .text", "word3")
    assert f"word{WORDS - 1}" not in browser.one(".turn.assistant .text").text
    assert browser.one(".composer button", "Stop").is_enabled()
    assert visit.answered().split() == [f"word{number}" for number in range(WORDS)]
    assert browser.one(".turn.assistant").get_attribute("aria-busy") == "false"
    assert browser.run("return document.getElementById('said').textContent") == "Answered."
    browser.one(".turn.assistant .fine", "67 tokens")
    browser.gone(".composer button", "Stop")


def test_a_stopped_answer_ends_the_models_call_and_the_next_message_begins_anew(
    visit: Visit, provider: StubProvider
) -> None:
    browser = visit.browser
    provider.forget()
    visit.chat_with("thinker")
    visit.say("Think")
    browser.one(".turn.assistant .text", "word0")
    browser.click(".composer button", "Stop")
    browser.one(".turn.assistant .fine", "The agent remembers nothing of this message.")
    assert asyncio.run(provider.cancelled())
    assert browser.focused().get_attribute("id") == "message"
    browser.click('.heading select option[value="assistant"]')
    visit.say("Hello")
    assert "This is turn 1 of our conversation." in visit.answered()


def test_a_conversation_goes_on_and_a_new_one_forgets(visit: Visit) -> None:
    browser = visit.browser
    visit.chat_with("assistant")
    visit.say("My name is Ada")
    visit.answered()
    visit.go("tools")
    visit.go("chat")
    visit.say("What is my name?")
    browser.one(".turn.assistant .text", 'the first question was: "My name is Ada"')
    browser.click("button", "New conversation")
    visit.say("Hello again")
    assert "This is turn 1 of our conversation." in visit.answered()


def test_an_answer_comes_to_its_end_while_the_reader_looks_elsewhere(visit: Visit) -> None:
    visit.chat_with("support")
    visit.say("Tell me a story")
    visit.browser.one(".turn.assistant .text", "word0")
    visit.go("tools")
    visit.go("chat")
    assert visit.answered().split()[-1] == f"word{WORDS - 1}"


def test_enter_sends_and_shift_enter_begins_a_line(visit: Visit) -> None:
    browser = visit.browser
    visit.chat_with("assistant")
    keys = ("one", Keys.SHIFT, Keys.ENTER, Keys.NULL, "two", Keys.ENTER)
    browser.one("#message").send_keys(*keys)
    assert "one\ntwo" in browser.one(".turn.user .text").text
    visit.answered()


def test_a_failing_model_is_told_with_a_way_to_try_again(visit: Visit) -> None:
    browser = visit.browser
    visit.chat_with("unlucky")
    before = len(_executions(browser))
    visit.say("Hello")
    browser.one(".turn .problem", "The model failed")
    browser.one(".turn .problem", "trace ")
    browser.click(".turn .problem button", "Try again")
    browser.wait(lambda: len(_executions(browser)) == before + 2, "it is sent again")
    browser.one(".turn .problem", "The model failed")
    assert len(browser.all(".turn.user")) == 1
    assert len(set(_keys(_executions(browser)[before:]))) == 2


def test_a_message_whose_fate_is_unknown_is_sent_again_under_the_same_key(visit: Visit) -> None:
    browser = visit.browser
    visit.chat_with("assistant")
    before = len(_executions(browser))
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.command("Network.emulateNetworkConditions", offline=True, **offline)
    visit.say("Hello")
    browser.one(".turn .problem", "Check your connection, then try again.")
    browser.command("Network.emulateNetworkConditions", offline=False, **offline)
    browser.click(".turn .problem button", "Try again")
    assert "You said" in visit.answered()
    keys = _keys(_executions(browser)[before:])
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_reached_rate_is_told_with_the_time_to_wait(browser: Browser, tenant: Tenant) -> None:
    tenant.follow(limits={"rateLimitPerMinute": 1})
    with tenant.running() as runtime:
        visit = Visit(browser, runtime.url)
        visit.sign_in(KEY)
        visit.chat_with("assistant")
        visit.say("Hello")
        visit.answered()
        visit.say("Hello again")
        told = browser.one(".turn .problem", "More than 1 executions per minute").text
        assert "seconds." in told


def test_a_used_budget_is_told_with_what_to_do(browser: Browser, tenant: Tenant) -> None:
    tenant.follow(budget=10)
    with tenant.running() as runtime:
        visit = Visit(browser, runtime.url)
        visit.sign_in(KEY)
        visit.chat_with("assistant")
        visit.say("Hello")
        browser.one(".turn .problem", "budget_exceeded")
        browser.one(".turn .problem", "have the budget raised")


def test_a_key_that_may_only_talk_talks_and_is_told_what_it_lacks_elsewhere(
    browser: Browser, runtime: RuntimeProcess
) -> None:
    visit = Visit(browser, runtime.url)
    visit.sign_in(TALKER_KEY)
    visit.chat_with("assistant")
    visit.say("Hello")
    assert "You said" in visit.answered()
    visit.go("sessions")
    browser.one(".problem", "This needs the scope `sessions:read`")
    browser.one(".problem", "Ask whoever gave you this key")
    visit.go("overview")
    browser.one(".state", "Ready")
    assert len(browser.all(".problem")) == 3
    browser.one(".problem", "usage:read")
