"""The page for everybody: by keyboard, screen reader, phone, in the dark, without motion."""

import pytest
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Browser
from tests.support.runtime_process import KEY, RuntimeProcess
from tests.ui.visits import SECTIONS, Visit

_GROUND = "return getComputedStyle(document.body).backgroundColor"
_OVERFLOW = "return document.documentElement.scrollWidth - window.innerWidth"


@pytest.mark.parametrize("section", SECTIONS)
def test_axe_finds_nothing_wrong_in_a_section_by_day_and_by_night(
    visit: Visit, section: str
) -> None:
    visit.browser.prefer("light", motion=False)
    visit.go(section)
    if section == "chat":
        visit.say("Hello")
        visit.answered()
    assert visit.browser.faults_of_accessibility() == []
    visit.browser.prefer("dark", motion=False)
    assert visit.browser.faults_of_accessibility() == []


def test_axe_finds_nothing_wrong_at_the_entrance_in_a_problem_and_in_a_dialog(
    browser: Browser, runtime: RuntimeProcess
) -> None:
    visit = Visit(browser, runtime.url)
    visit.open()
    visit.try_key("wrong")
    browser.one("#login-problem .problem")
    assert browser.faults_of_accessibility() == []
    visit.sign_in(KEY)
    visit.go("sessions")
    browser.click(".rows a", "Sum 2")
    visit.settle()
    assert browser.faults_of_accessibility() == []
    browser.click("button", "Delete")
    browser.one("dialog")
    assert browser.faults_of_accessibility() == []
    browser.press(Keys.ESCAPE)
    browser.gone("dialog")
    assert browser.focused().text == "Delete"


def test_everything_is_done_by_keyboard_alone(browser: Browser, runtime: RuntimeProcess) -> None:
    visit = Visit(browser, runtime.url)
    visit.open()
    assert browser.focused().get_attribute("id") == "key"
    browser.press(KEY, Keys.ENTER)
    browser.one("#main h1", "Overview")
    assert browser.focused().text == "Overview"

    _tab_to(browser, "Skip to content", backwards=True)
    browser.press(Keys.ENTER)
    assert browser.focused().get_attribute("id") == "main"
    _tab_to(browser, "Skip to content", backwards=True)
    _tab_to(browser, "Chat")
    browser.press(Keys.ENTER)
    browser.one("#main h1", "Chat")
    assert browser.focused().text == "Chat"

    _tab_to(browser, "message")
    browser.press("Hello", Keys.ENTER)
    assert "Hello" in visit.answered()
    _tab_to(browser, "logout", backwards=True)
    browser.press(Keys.ENTER)
    browser.one("#key")


def _tab_to(browser: Browser, wanted: str, *, backwards: bool = False) -> None:
    """Press Tab until what has this text or id has the focus, visibly."""
    for _ in range(40):
        keys = Keys.SHIFT + Keys.TAB if backwards else Keys.TAB
        browser.focused().send_keys(keys)
        focused = browser.focused()
        if wanted in {focused.text, focused.get_attribute("id")}:
            assert focused.value_of_css_property("outline-style") == "solid"
            return
    raise AssertionError(f"Tab does not lead to {wanted}")


@pytest.mark.parametrize("width", [320, 390, 768])
def test_no_section_scrolls_sideways_on_a_narrow_screen(visit: Visit, width: int) -> None:
    browser = visit.browser
    browser.resize(width, 800)
    for section in SECTIONS:
        visit.go(section)
        if section == "chat":
            visit.say("unbroken" * 40)
            visit.answered()
        assert (section, browser.run(_OVERFLOW)) == (section, 0)


def test_the_theme_follows_the_system_until_the_reader_chooses(visit: Visit) -> None:
    browser = visit.browser
    light = browser.run(_GROUND)
    browser.prefer("dark")
    dark = browser.run(_GROUND)
    assert dark != light
    browser.click("#theme option[value=light]")
    assert browser.run(_GROUND) == light
    browser.driver.refresh()
    browser.one("#key")
    assert browser.run(_GROUND) == light
    browser.run("localStorage.removeItem('bulkhead-theme')")
    browser.driver.refresh()
    browser.one("#key")
    assert browser.run(_GROUND) == dark


@pytest.mark.parametrize(("motion", "name"), [(True, "breathing"), (False, "none")])
def test_a_coming_answer_moves_only_for_those_who_like_it(
    visit: Visit, motion: bool, name: str
) -> None:
    browser = visit.browser
    browser.prefer("light", motion=motion)
    visit.chat_with("thinker")
    visit.say("Hello")
    browser.one(".turn[aria-busy=true] .text", "word0")
    script = (
        "return getComputedStyle(document.querySelector('.turn[aria-busy=true] .speaker'),"
        " '::after').animationName"
    )
    assert browser.run(script) == name
    browser.click(".composer button", "Stop")
